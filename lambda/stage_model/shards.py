"""Weights as they are staged: which tensors are cast, in which order they lie, and in which shard.

The order is the published files' own, so that these are read through once and hashed on the way.
"""

import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace

from stage_model.errors import StagingError
from stage_model.tensors import ITEM_SIZES, Tensor, WeightFile

MAX_SHARD = 4_000_000_000  # bytes: below what plain ustar headers and 32-bit tools can tell
_MAX_GAPS = 64 << 20  # bytes of a file that no tensor views, read only to be hashed: a part may meet all of them
# The decoder was published in fp16 and upcast. T5 overflows in fp16, and EnCodec is small: both stay as they are.
DECODER = "decoder."


@dataclass(frozen=True)
class Slot:
    """A tensor in its shard: `start` and `nbytes` of its staged bytes after the header, `dtype` as staged.

    `file` is the published file's place in the list; `hashed_from` is where its hashing stands before this tensor, and
    `hashed_to` after it. A slot that is read `again` has its bytes from a range that another slot covers too.
    """

    tensor: Tensor
    dtype: str
    start: int
    file: int
    hashed_from: int
    hashed_to: int
    again: bool

    @property
    def nbytes(self) -> int:
        """The length of the staged bytes."""
        return self.tensor.count * ITEM_SIZES[self.dtype]


@dataclass(frozen=True)
class Shard:
    """A staged safetensors file: its name, its header, and the tensors after it."""

    path: str
    header: bytes
    slots: Sequence[Slot]

    @property
    def size(self) -> int:
        """The file's length in bytes."""
        return len(self.header) + sum(slot.nbytes for slot in self.slots)


def staged_dtype(tensor: Tensor, decoder_dtype: str, kept: Collection[str]) -> str:
    """Return the type that a tensor is staged in."""
    castable = tensor.dtype == "F32" and tensor.name.startswith(DECODER) and tensor.name not in kept
    return "F16" if decoder_dtype == "float16" and castable else tensor.dtype


def make_shards(
    files: Sequence[WeightFile], decoder_dtype: str, kept: Collection[str], max_shard: int = MAX_SHARD
) -> list[Shard]:
    """Lay the tensors of all files out in shards of at most `max_shard` bytes (a larger tensor gets one of its own).

    Raises StagingError for a name that occurs twice, and for files that are mostly something else than tensors.
    """
    placed = [one for number, file in enumerate(files) for one in _place(number, file, decoder_dtype, kept)]
    names = [one.tensor.name for one in placed]
    if len(set(names)) != len(names):
        twice = sorted({name for name in names if names.count(name) > 1}) if len(names) < 10_000 else ["some"]
        raise StagingError(f"the weights must name every tensor once, got twice: {', '.join(twice[:5])}")
    groups = list(_group(placed, max_shard))
    return [_shard(_name(number, len(groups)), group) for number, group in enumerate(groups, start=1)]


def shard_index(shards: Sequence[Shard]) -> bytes:
    """Return `model.safetensors.index.json` for these shards."""
    weight_map = {slot.tensor.name: shard.path for shard in shards for slot in shard.slots}
    total = sum(slot.nbytes for shard in shards for slot in shard.slots)
    document = {"metadata": {"total_size": total}, "weight_map": dict(sorted(weight_map.items()))}
    return json.dumps(document, indent=1).encode() + b"\n"


def _place(number: int, file: WeightFile, decoder_dtype: str, kept: Collection[str]) -> Iterator[Slot]:
    """Yield a file's tensors: first those that cover new ground, by offset, then those that view what others cover."""
    ordered = sorted(file.tensors, key=lambda tensor: (tensor.start, -tensor.nbytes))
    fresh, again, end = list[Tensor](), list[Tensor](), 0
    for tensor in ordered:
        covers_new = tensor.data is None and tensor.nbytes > 0 and tensor.start >= end
        (fresh if covers_new else again).append(tensor)
        end = tensor.end if covers_new else end
    if not fresh:
        raise StagingError(f"{file.path} must hold tensors with elements in row-major order, got none")
    other = file.source.size - sum(tensor.nbytes for tensor in fresh)
    if other > _MAX_GAPS:
        raise StagingError(f"{file.path} must hold at most {_MAX_GAPS} bytes that are not tensors', got {other}")
    ends = [0, *(tensor.end for tensor in fresh[:-1]), file.source.size]
    for place, tensor in enumerate(fresh):
        hashed_to = ends[place + 1]
        yield Slot(tensor, staged_dtype(tensor, decoder_dtype, kept), 0, number, ends[place], hashed_to, False)
    for tensor in again:
        yield Slot(tensor, staged_dtype(tensor, decoder_dtype, kept), 0, number, 0, 0, True)


def _group(placed: Sequence[Slot], max_shard: int) -> Iterator[list[Slot]]:
    group, size = list[Slot](), 0
    for one in placed:
        # The header is part of the shard; an entry of it takes less than 200 bytes and the name.
        nbytes = one.nbytes + 200 + len(one.tensor.name.encode())
        if group and size + nbytes > max_shard:
            yield group
            group, size = [], 0
        group.append(one)
        size += nbytes
    yield group


def _shard(path: str, group: Sequence[Slot]) -> Shard:
    slots, at = list[Slot](), 0
    for one in group:
        slots.append(replace(one, start=at))
        at += one.nbytes
    entries = {
        s.tensor.name: {"dtype": s.dtype, "shape": s.tensor.shape, "data_offsets": [s.start, s.start + s.nbytes]}
        for s in slots
    }
    text = json.dumps({"__metadata__": {"format": "pt"}, **entries}, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return Shard(path, len(text).to_bytes(8, "little") + text, slots)


def _name(number: int, count: int) -> str:
    return "model.safetensors" if count == 1 else f"model-{number:05d}-of-{count:05d}.safetensors"
