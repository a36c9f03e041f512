"""Reads the pickle of a `torch.save` file without executing it.

`pickletools` decodes the opcodes, and a small stack machine interprets those that a state dict needs. Nothing is
imported, called or constructed by name: names are compared with a short list, and all others are rejected.
"""

import pickletools
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from reprlib import repr  # bounded output: a pickle can nest a value exponentially
from typing import Any, cast

from stage_model.errors import StagingError
from stage_model.memory import MemoryBudget

_DTYPES: Mapping[str, str] = {
    "torch DoubleStorage": "F64", "torch FloatStorage": "F32", "torch HalfStorage": "F16",
    "torch BFloat16Storage": "BF16", "torch LongStorage": "I64", "torch IntStorage": "I32",
    "torch ShortStorage": "I16", "torch CharStorage": "I8", "torch ByteStorage": "U8", "torch BoolStorage": "BOOL",
}  # fmt: skip
_OPCODE_COST = 128  # bytes of Python objects; the most are a memo's entry and a dictionary
_TEXT_COST = 5  # bytes for each of the pickle: a text is sliced and decoded, at four bytes per character
_CHARGED_OPCODES = 1000  # at once
_MAX_MARKS = 100  # open at once; a state dict's pickle has two or three


@dataclass(frozen=True, slots=True)
class Global:
    """A global that the pickle refers to, as `module name`."""

    name: str


@dataclass(frozen=True, slots=True)
class StorageRef:
    """A storage: the archive's member `data/<key>`, `count` elements of `dtype`."""

    key: str
    dtype: str
    count: int


@dataclass(frozen=True, slots=True)
class TensorRef:
    """A view of a storage; `offset` and `stride` count elements."""

    storage: StorageRef
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


def read_state_dict(path: str, pickle: bytes, memory: MemoryBudget | None = None) -> dict[str, TensorRef]:
    """Return the tensors of a state dict by name.

    Raises StagingError, naming what does not belong in one, or if the pickle's objects exceed the run's memory.
    """
    return check_state_dict(path, read_pickle(path, pickle, memory))


def read_pickle(path: str, pickle: bytes, memory: MemoryBudget | None = None) -> object:
    """Return what a pickle describes: a state dict, or a dictionary of one and plain values, as audiocraft exports.

    Raises StagingError, naming what belongs in neither, or if the pickle's objects exceed the run's memory.
    """
    memory = memory or MemoryBudget()
    what = f"the pickle of {path}"
    try:
        with warnings.catch_warnings(), memory.lend(what, _TEXT_COST * len(pickle)) as charge:
            warnings.simplefilter("ignore", DeprecationWarning)  # invalid escapes in damaged strings
            return _Machine(path).run(pickle, lambda opcodes: charge(opcodes * _OPCODE_COST))
    except (ValueError, IndexError, KeyError, TypeError, AttributeError) as error:
        raise StagingError(f"the pickle of {path} must be well-formed, got {error!r:.200}") from error


def check_state_dict(path: str, value: object) -> dict[str, TensorRef]:
    """Return a state dict. Raises StagingError, naming what is no tensor."""
    if not isinstance(value, dict):
        raise StagingError(f"{path} must hold a state dict, got {repr(value)}")
    tensors = cast(dict[str, Any], value)
    for name, value in tensors.items():
        if not isinstance(value, TensorRef):
            raise StagingError(f"the state dict of {path} must hold tensors only, got {name!r:.100}: {repr(value)}")
    return tensors


class _Machine:
    """Runs a pickle's opcodes: `stack` holds the values since the last mark, `marked` the stacks below each mark."""

    def __init__(self, path: str) -> None:
        self._path = path
        self.stack: list[Any] = []
        self.marked: list[list[Any]] = []
        self.memo: dict[int, Any] = {}

    def run(self, pickle: bytes, charge: Callable[[int], None]) -> Any:
        """Return what the pickle describes; `charge` is called with a number of opcodes before they run."""
        for count, (opcode, argument, _) in enumerate(pickletools.genops(pickle)):
            if count % _CHARGED_OPCODES == 0:
                charge(_CHARGED_OPCODES)
            if opcode.name == "STOP":
                break
            if opcode.name not in _ACTIONS:
                raise self._error(f"must have only a state dict's opcodes, got {opcode.name}")
            _ACTIONS[opcode.name](self, argument)
        if self.marked:
            raise ValueError("a mark is left")
        (result,) = self.stack
        return result

    def push(self, value: object) -> None:
        self.stack.append(value)

    def pop(self, count: int) -> tuple[Any, ...]:
        if len(self.stack) < count:
            raise ValueError("stack underflow")
        values = tuple(self.stack[len(self.stack) - count :])
        del self.stack[len(self.stack) - count :]
        return values

    def mark(self, _: None) -> None:
        if len(self.marked) == _MAX_MARKS:
            raise ValueError(f"over {_MAX_MARKS} marks")
        self.marked.append(self.stack)
        self.stack = []

    def pop_mark(self) -> tuple[Any, ...]:
        values, self.stack = tuple(self.stack), self.marked.pop()
        return values

    def memoize(self, key: int) -> None:
        self.memo[key] = self.stack[-1]

    def set_items(self, items: tuple[Any, ...]) -> None:
        target = self.stack[-1]
        for key, value in zip(items[::2], items[1::2], strict=True):
            if not isinstance(target, dict) or not isinstance(key, str):  # hashing nested tuples can be exponential
                raise ValueError("items must be set by name on a dictionary")
            cast(dict[str, object], target)[key] = value

    def build(self, _: None) -> None:
        target, _ignored = self.stack[-2], self.stack.pop()  # a state dict's _metadata, which is not needed
        if not isinstance(target, dict):
            raise self._error(f"must not set the state of {repr(target)}")

    def load_storage(self, _: None) -> None:
        match self.stack.pop():
            case ("storage", Global(name=name), str(key), str(), int(count)) if name in _DTYPES and key.isalnum():
                self.push(StorageRef(key, _DTYPES[name], count))
            case other:
                raise self._error(f"must refer to storages of known types, got {repr(other)}")

    def reduce(self, _: None) -> None:
        function, arguments = self.pop(2)
        match function, arguments:
            case Global(name="collections OrderedDict"), ():
                self.push({})
            case Global(name="torch._utils _rebuild_tensor_v2"), tuple():
                self.push(self._rebuild_tensor(cast(tuple[Any, ...], arguments)))
            case Global(name="torch._utils _rebuild_parameter"), (TensorRef() as tensor, *_):
                self.push(tensor)
            case Global(name=name), _:
                raise self._error(f"must call nothing but what rebuilds tensors, got {name!r:.200}")
            case _:
                raise self._error(f"must call functions by name, got {repr(function)}")

    def _rebuild_tensor(self, arguments: tuple[Any, ...]) -> TensorRef:
        storage, offset, shape, stride, *others = arguments  # then requires_grad, hooks and, in some, metadata
        if any(others[2:]):  # {"neg": True} or {"conj": True}: the storage holds the negative or conjugate values
            raise self._error(f"must hold tensors without a negative or conjugate bit, got {repr(others[2:])}")
        if isinstance(storage, StorageRef) and (type(offset), type(shape), type(stride)) == (int, tuple, tuple):
            return TensorRef(storage, offset, shape, stride)
        raise self._error(f"must rebuild tensors from storages, got {repr(arguments)}")

    def _error(self, requirement: str) -> StagingError:
        return StagingError(f"the pickle of {self._path} {requirement}")


_ACTIONS: Mapping[str, Callable[[_Machine, Any], None]] = {
    **dict.fromkeys(("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT"), _Machine.push),
    **dict.fromkeys(("BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"), _Machine.push),
    **dict.fromkeys(("PROTO", "FRAME"), lambda machine, argument: None),
    **dict.fromkeys(("BINPUT", "LONG_BINPUT"), _Machine.memoize),
    **dict.fromkeys(("BINGET", "LONG_BINGET"), lambda machine, key: machine.push(machine.memo[key])),
    "NONE": lambda machine, _: machine.push(None),
    "NEWTRUE": lambda machine, _: machine.push(True),
    "NEWFALSE": lambda machine, _: machine.push(False),
    "GLOBAL": lambda machine, name: machine.push(Global(name)),
    "MARK": _Machine.mark,
    "EMPTY_DICT": lambda machine, _: machine.push({}),
    "EMPTY_TUPLE": lambda machine, _: machine.push(()),
    "TUPLE1": lambda machine, _: machine.push(machine.pop(1)),
    "TUPLE2": lambda machine, _: machine.push(machine.pop(2)),
    "TUPLE3": lambda machine, _: machine.push(machine.pop(3)),
    "TUPLE": lambda machine, _: machine.push(machine.pop_mark()),
    "SETITEM": lambda machine, _: machine.set_items(machine.pop(2)),
    "SETITEMS": lambda machine, _: machine.set_items(machine.pop_mark()),
    "BUILD": _Machine.build,
    "BINPERSID": _Machine.load_storage,
    "REDUCE": _Machine.reduce,
}
