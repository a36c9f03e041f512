"""Reads the pickle of a `torch.save` file without executing it.

`pickletools` decodes the opcodes, and a small stack machine interprets those that a state dict needs. Nothing is
imported, called or constructed by name: names are compared with a short list, and all others are rejected.
"""

import pickletools
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from reprlib import repr  # bounded output: a pickle can nest a value exponentially
from typing import Any, cast

from stage_model.errors import StagingError

_DTYPES: Mapping[str, str] = {
    "DoubleStorage": "F64", "FloatStorage": "F32", "HalfStorage": "F16", "BFloat16Storage": "BF16",
    "LongStorage": "I64", "IntStorage": "I32", "ShortStorage": "I16", "CharStorage": "I8", "ByteStorage": "U8",
    "BoolStorage": "BOOL",
}  # fmt: skip
_MAX_OPCODES = 5_000_000
_MAX_MARKS = 100  # open at once; a state dict's pickle has two or three
_CONSTANTS: Mapping[str, object] = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_LITERALS = frozenset(
    {"BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"}
)


@dataclass(frozen=True)
class Global:
    """A global that the pickle refers to, as `module name`."""

    name: str


@dataclass(frozen=True)
class StorageRef:
    """A storage: the archive's member `data/<key>`, `count` elements of `dtype`."""

    key: str
    dtype: str
    count: int


@dataclass(frozen=True)
class TensorRef:
    """A view of a storage; `offset` and `stride` count elements."""

    storage: StorageRef
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


@dataclass
class _Machine:
    """`stack` holds the values since the last mark, `marked` the stacks below each mark."""

    stack: list[Any] = field(default_factory=list[Any])
    marked: list[list[Any]] = field(default_factory=list[list[Any]])
    memo: dict[int, Any] = field(default_factory=dict[int, Any])


def read_state_dict(path: str, pickle: bytes) -> dict[str, TensorRef]:
    """Return the tensors of a state dict by name. Raises StagingError, naming what does not belong in one."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # invalid escapes in damaged strings
            (result,) = _run(path, pickle)
    except (ValueError, IndexError, KeyError, TypeError, AttributeError) as error:
        raise StagingError(f"the pickle of {path} must be well-formed, got {error!r:.200}") from error
    if not isinstance(result, dict):
        raise StagingError(f"{path} must hold a state dict, got {repr(result)}")
    tensors = cast(dict[str, Any], result)
    for name, value in tensors.items():
        if not isinstance(value, TensorRef):
            raise StagingError(f"the state dict of {path} must hold tensors only, got {name!r:.100}: {repr(value)}")
    return tensors


def _run(path: str, pickle: bytes) -> list[Any]:
    machine = _Machine()
    for count, (opcode, argument, _) in enumerate(pickletools.genops(pickle)):
        if count > _MAX_OPCODES:
            raise StagingError(f"the pickle of {path} must have at most {_MAX_OPCODES} opcodes, got more")
        if opcode.name == "STOP":
            break
        _step(path, machine, opcode.name, argument)
    if machine.marked:
        raise ValueError("a mark is left")
    return machine.stack


def _step(path: str, machine: _Machine, opcode: str, argument: Any) -> None:
    stack = machine.stack
    if opcode in _LITERALS:
        stack.append(argument)
    elif opcode in _CONSTANTS:
        stack.append(_CONSTANTS[opcode])
    elif opcode == "GLOBAL":
        stack.append(Global(argument))
    elif opcode in _ACTIONS:
        _ACTIONS[opcode](path, machine, argument)
    else:
        raise StagingError(f"the pickle of {path} must have only a state dict's opcodes, got {opcode}")


def _mark(path: str, machine: _Machine, argument: Any) -> None:
    if len(machine.marked) == _MAX_MARKS:
        raise ValueError(f"over {_MAX_MARKS} marks")
    machine.marked.append(machine.stack)
    machine.stack = []


def _pop_mark(machine: _Machine) -> list[Any]:
    values, machine.stack = machine.stack, machine.marked.pop()
    return values


def _pop(machine: _Machine, count: int) -> list[Any]:
    if len(machine.stack) < count:
        raise ValueError("stack underflow")
    values = machine.stack[len(machine.stack) - count :]
    del machine.stack[len(machine.stack) - count :]
    return values


def _set_items(path: str, machine: _Machine, argument: Any) -> None:
    items = _pop_mark(machine)
    for key, value in zip(items[::2], items[1::2], strict=True):
        _set(machine.stack[-1], key, value)


def _set_item(path: str, machine: _Machine, argument: Any) -> None:
    key, value = _pop(machine, 2)
    _set(machine.stack[-1], key, value)


def _set(target: Any, key: object, value: object) -> None:
    if not isinstance(target, dict) or not isinstance(key, str):  # hashing nested tuples can take exponential time
        raise ValueError("items must be set by name on a dictionary")
    cast(dict[str, object], target)[key] = value


def _build(path: str, machine: _Machine, argument: Any) -> None:
    target, _ = machine.stack[-2], machine.stack.pop()  # a state dict's _metadata, which is not needed
    if not isinstance(target, dict):
        raise StagingError(f"the pickle of {path} must not set the state of {repr(target)}")


def _persistent(path: str, machine: _Machine, argument: Any) -> None:
    match machine.stack.pop():
        case ("storage", Global(name=name), str(key), str(), int(count)) if (dtype := _dtype(name)) and key.isalnum():
            machine.stack.append(StorageRef(key, dtype, count))
        case other:
            raise StagingError(f"the pickle of {path} must refer to storages of known types, got {repr(other)}")


def _dtype(name: str) -> str | None:
    module, _, storage = name.partition(" ")
    return _DTYPES.get(storage) if module == "torch" else None


def _reduce(path: str, machine: _Machine, argument: Any) -> None:
    function, arguments = _pop(machine, 2)
    match function, arguments:
        case Global(name="collections OrderedDict"), ():
            machine.stack.append({})
        case Global(name="torch._utils _rebuild_tensor_v2"), tuple():
            machine.stack.append(_tensor(path, cast(tuple[Any, ...], arguments)))
        case Global(name="torch._utils _rebuild_parameter"), (TensorRef() as tensor, *_):
            machine.stack.append(tensor)
        case Global(name=name), _:
            raise StagingError(f"the pickle of {path} must call nothing but what rebuilds tensors, got {name!r:.200}")
        case _:
            raise StagingError(f"the pickle of {path} must call functions by name, got {repr(function)}")


def _tensor(path: str, arguments: tuple[Any, ...]) -> TensorRef:
    storage, offset, shape, stride, *_ = arguments  # then requires_grad and hooks
    if (
        isinstance(storage, StorageRef)
        and type(offset) is int
        and isinstance(shape, tuple)
        and isinstance(stride, tuple)
    ):
        return TensorRef(storage, offset, cast(tuple[Any, ...], shape), cast(tuple[Any, ...], stride))
    raise StagingError(f"the pickle of {path} must rebuild tensors from storages, got {repr(arguments)}")


def _append_tuple(count: int | None) -> Callable[[str, _Machine, Any], None]:
    def act(path: str, machine: _Machine, argument: Any) -> None:
        values = _pop_mark(machine) if count is None else _pop(machine, count)
        machine.stack.append(tuple(values))

    return act


_ACTIONS: Mapping[str, Callable[[str, _Machine, Any], None]] = {
    "PROTO": lambda path, machine, argument: None,
    "FRAME": lambda path, machine, argument: None,
    "MARK": _mark,
    "EMPTY_DICT": lambda path, machine, argument: machine.stack.append({}),
    "EMPTY_TUPLE": _append_tuple(0),
    "TUPLE1": _append_tuple(1),
    "TUPLE2": _append_tuple(2),
    "TUPLE3": _append_tuple(3),
    "TUPLE": _append_tuple(None),
    "BINPUT": lambda path, machine, argument: machine.memo.update({argument: machine.stack[-1]}),
    "LONG_BINPUT": lambda path, machine, argument: machine.memo.update({argument: machine.stack[-1]}),
    "BINGET": lambda path, machine, argument: machine.stack.append(machine.memo[argument]),
    "LONG_BINGET": lambda path, machine, argument: machine.stack.append(machine.memo[argument]),
    "SETITEM": _set_item,
    "SETITEMS": _set_items,
    "BUILD": _build,
    "BINPERSID": _persistent,
    "REDUCE": _reduce,
}
