"""Tensors of a file written by `torch.save`: a zip of uncompressed storages, and a pickle of views into them."""

import io
import reprlib
import struct
import zipfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import cast

from stage_model.errors import StagingError
from stage_model.memory import MemoryBudget
from stage_model.source.byte_source import Source
from stage_model.weights.export_settings import MAX_SETTINGS, SETTINGS_COST
from stage_model.weights.safetensors_header import (
    ITEM_SIZES,
    MAX_TENSORS,
    KnownBytes,
    Tensor,
    WeightFile,
    charge_tensor,
    check_shape,
    check_sizes,
    read_range,
)
from stage_model.weights.torch_pickle import TensorRef, check_state_dict, read_pickle, read_state_dict

_DIRECTORY_COST = 16  # bytes of Python objects for each byte that is read to list the members
_MAX_PICKLE = 8 << 20  # bytes; real ones have 200 kB
_LOCAL_HEADER = struct.Struct("<4s22xHH")  # of a zip member: signature, lengths of name and extra field
_READERS = 8
_BATCH = 256  # members whose headers are requested at a time


@dataclass(frozen=True)
class Package:
    """A file that audiocraft exported: a state dict and its configuration in YAML, or the name of a published model."""

    state: WeightFile | None
    config: str
    pretrained: str | None


def index_torch(path: str, source: Source, sha256: str, memory: MemoryBudget | None = None) -> WeightFile:
    """Locate every tensor of a state dict, charged to the run's memory.

    Raises StagingError, naming the problem, for anything else, or if there is too little memory.
    """
    memory = memory or MemoryBudget()
    with memory.lend(f"the zip directory of {path}") as charge:  # forgotten once all tensors are located
        archive, root, pickle = _open(path, source, memory, charge)
        return _locate(path, source, sha256, read_state_dict(path, pickle, memory), archive, root)


def index_package(path: str, source: Source, sha256: str, memory: MemoryBudget | None = None) -> Package:
    """Locate every tensor of a file that audiocraft's `export_lm` or `export_encodec` wrote. Raises as `index_torch`.

    https://github.com/facebookresearch/audiocraft/blob/main/audiocraft/utils/export.py
    """
    memory = memory or MemoryBudget()
    with memory.lend(f"the zip directory of {path}") as charge:
        archive, root, pickle = _open(path, source, memory, charge)
        found = read_pickle(path, pickle, memory)
        fields = cast(dict[object, object], found) if isinstance(found, dict) else {}
        if isinstance(pretrained := fields.get("pretrained"), str):
            return Package(None, "", pretrained)
        config = fields.get("xp.cfg")
        if "best_state" not in fields or not isinstance(config, str):
            wanted = "best_state and a text xp.cfg, as audiocraft's export_lm and export_encodec write them"
            raise StagingError(f"{path} must hold {wanted}, got {reprlib.repr(list(fields))}")
        if len(config) > MAX_SETTINGS:
            raise StagingError(f"the xp.cfg of {path} must have at most {MAX_SETTINGS} characters, got {len(config)}")
        memory.charge(f"the xp.cfg of {path}", SETTINGS_COST * len(config))
        views = check_state_dict(path, fields["best_state"])
        return Package(_locate(path, source, sha256, views, archive, root), config, None)


def _open(
    path: str, source: Source, memory: MemoryBudget, charge: Callable[[int], None]
) -> tuple["_Members", str, bytes]:
    """Return a file's members, the folder in which all of them are, and its pickle."""
    members = _members(path, source, charge)
    pickles = [name for name in members if name.endswith("/data.pkl")]
    if len(pickles) != 1:
        raise StagingError(f"{path} must hold one data.pkl, as torch.save writes it, got {len(pickles)}")
    root = pickles[0].removesuffix("data.pkl")
    archive = _Members(path, source, members, memory)
    name = f"{root}byteorder"  # absent from older files, which are little-endian
    if name in members and (order := archive.read(name, 64)) != b"little":
        raise StagingError(f"the byte order of {path} must be little, got {order!r}")
    return archive, root, archive.read(pickles[0], _MAX_PICKLE)


def _locate(
    path: str, source: Source, sha256: str, views: Mapping[str, TensorRef], archive: "_Members", root: str
) -> WeightFile:
    if not 0 < len(views) <= MAX_TENSORS:
        raise StagingError(f"{path} must hold 1 to {MAX_TENSORS} tensors, got {len(views)}")
    for name in views:
        charge_tensor(archive.memory, path, name)
    archive.find({f"{root}data/{view.storage.key}" for view in views.values()})
    known = list(archive.known)
    tensors = [_tensor(path, name, view, archive, f"{root}data/", known) for name, view in views.items()]
    return WeightFile(path, source, sha256, tensors, known)


def _members(path: str, source: Source, charge: Callable[[int], None]) -> dict[str, zipfile.ZipInfo]:
    try:
        with zipfile.ZipFile(_RangeFile(source, charge)) as file:
            infos = file.infolist()
    except (zipfile.BadZipFile, struct.error, ValueError, OSError, NotImplementedError) as error:
        raise StagingError(f"{path} must be a zip archive, as torch.save writes it, got {error}") from error
    for info in infos:
        if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 0x1 or info.file_size != info.compress_size:
            raise StagingError(f"the members of {path} must be stored plainly, got {info.filename!r:.200} otherwise")
    members = {info.filename: info for info in infos}
    if len(members) != len(infos) or not infos:
        raise StagingError(f"{path} must name every member once, got {len(infos)} for {len(members)} names")
    return members


class _RangeFile(io.RawIOBase):
    """A source as a file object for `zipfile`, which reads a directory whole, however large its headers say it is.

    `charge` is called before each read with the memory that it needs.
    """

    def __init__(self, source: Source, charge: Callable[[int], None]) -> None:
        super().__init__()
        self._source, self._charge = source, charge
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._source.size}[whence]
        if base + offset < 0:
            raise ValueError(f"offset must be at least 0, got {base + offset}")
        self._at = base + offset
        return self._at

    def read(self, size: int = -1, /) -> bytes:
        rest = max(0, self._source.size - self._at)
        length = rest if size < 0 else min(size, rest)
        self._charge(length * _DIRECTORY_COST)
        data = read_range(self._source, self._at, length, length)
        self._at += length
        return data


class _Members:
    """Where members' bytes begin: after local headers, whose length is stored in the headers themselves."""

    def __init__(self, path: str, source: Source, members: Mapping[str, zipfile.ZipInfo], memory: MemoryBudget) -> None:
        self._path, self._source, self._members, self.memory = path, source, members, memory
        self._starts: dict[str, int] = {}
        self.known: list[KnownBytes] = []

    def find(self, names: set[str]) -> None:
        """Read the local headers of these members concurrently: each takes one request."""
        missing = sorted(names - self._starts.keys())
        with ThreadPoolExecutor(_READERS) as pool:
            for first in range(0, len(missing), _BATCH):  # `map` keeps a future for each
                batch = missing[first : first + _BATCH]
                for name, header in zip(batch, pool.map(self._header, batch), strict=True):
                    self._locate(name, header)

    def _locate(self, name: str, header: bytes) -> None:
        signature, name_length, extra_length = _LOCAL_HEADER.unpack(header)
        offset = self._members[name].header_offset
        if signature != b"PK\3\4":
            raise StagingError(f"{name:.200} of {self._path} must begin with a zip header, got {signature!r}")
        start = offset + _LOCAL_HEADER.size + name_length + extra_length
        if start + self._members[name].file_size > self._source.size:
            raise StagingError(f"{name:.200} of {self._path} must lie within the file, got one that reaches beyond")
        self._starts[name] = start
        self.known.append(KnownBytes(offset, header))

    def __getitem__(self, name: str) -> tuple[int, int]:
        """Return the offset and the size of a member's bytes."""
        return self._starts[name], self._members[name].file_size

    def read(self, name: str, limit: int) -> bytes:
        self.find({name})
        start, size = self[name]
        what = f"{name:.200} of {self._path}"
        if size > limit:
            raise StagingError(f"{what} must be at most {limit} bytes, got {size}")
        self.memory.charge(what, size)
        with self.memory.lend(what, size):  # the copy
            data = read_range(self._source, start, size, limit)
        self.known.append(KnownBytes(start, data))
        return data

    def region(self, start: int, length: int, copied: int) -> bytes:
        """Return the storage bytes of a view that is copied to a tensor of `copied` bytes.

        Raises StagingError before reading if that exceeds the run's memory.
        """
        what = f"a tensor of {self._path} that is not in row-major order"
        self.memory.charge(what, length + copied)  # a view can repeat bytes, or skip some
        with self.memory.lend(what, length):  # the copy
            return read_range(self._source, start, length, length)

    def _header(self, name: str) -> bytes:
        if name not in self._members:
            raise StagingError(f"{self._path} must hold the storage {name!r:.200} that its pickle names")
        return read_range(self._source, self._members[name].header_offset, _LOCAL_HEADER.size)


def _tensor(path: str, name: str, view: TensorRef, archive: _Members, folder: str, known: list[KnownBytes]) -> Tensor:
    shape, stride = check_shape(name, view.shape), check_sizes(name, "stride", view.stride)
    begin, size = archive[folder + view.storage.key]
    item = ITEM_SIZES[view.storage.dtype]
    spanned = _spanned(path, name, view, shape, stride)
    if view.storage.count * item != size:
        raise StagingError(f"the storage of {name} in {path} must be {view.storage.count * item} bytes, got {size}")
    tensor = Tensor(name, view.storage.dtype, shape, begin + view.offset * item)
    if _row_major(shape, stride):
        return tensor
    region = KnownBytes(tensor.start, archive.region(tensor.start, spanned * item, tensor.nbytes))
    known.append(region)
    import numpy as np  # here: nearly no view needs it

    elements = np.frombuffer(region.data, f"V{item}")
    strided = np.lib.stride_tricks.as_strided(elements, shape, [step * item for step in stride], writeable=False)
    return replace(tensor, data=strided.tobytes())


def _spanned(path: str, name: str, view: TensorRef, shape: Sequence[int], stride: Sequence[int]) -> int:
    """Return how many storage elements a view spans. Raises StagingError if it exceeds the storage."""
    if len(shape) != len(stride) or view.offset < 0:
        raise StagingError(f"{name} in {path} must have a stride for every size, got {view!r:.300}")
    spanned = 0 if 0 in shape else 1 + sum((size - 1) * step for size, step in zip(shape, stride, strict=True))
    if view.offset + spanned > view.storage.count:
        raise StagingError(f"{name} in {path} must lie within its storage of {view.storage.count}, got {view!r:.300}")
    return spanned


def _row_major(shape: Sequence[int], stride: Sequence[int]) -> bool:
    expected = 1
    for length, step in zip(reversed(shape), reversed(stride), strict=True):
        if length != 1 and step != expected:
            return 0 in shape
        expected *= length
    return True
