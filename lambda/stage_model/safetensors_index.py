"""What a safetensors file holds, from its header alone (https://github.com/huggingface/safetensors#format)."""

import json
from typing import Any, cast

from stage_model.errors import StagingError
from stage_model.sources import Source
from stage_model.tensors import ITEM_SIZES, MAX_TENSORS, Known, Tensor, WeightFile, check_shape, read_range

_MAX_HEADER = 32 << 20  # bytes; the format allows 100 MB, models of this size have 100 kB


def index_safetensors(path: str, source: Source, sha256: str) -> WeightFile:
    """Read and check the header. Raises StagingError when it is not a well-formed one, without gaps or overlaps."""
    length = int.from_bytes(read_range(source, 0, 8), "little") if source.size >= 8 else -1
    if not 2 <= length <= min(_MAX_HEADER, source.size - 8):
        raise StagingError(f"the header of {path} must be 2 to {_MAX_HEADER} bytes within the file, got {length}")
    header = read_range(source, 0, 8 + length)
    tensors = [_tensor(path, name, entry, 8 + length) for name, entry in _entries(path, header[8:]).items()]
    tensors.sort(key=lambda tensor: (tensor.start, tensor.end))
    _check_dense(path, tensors, 8 + length, source.size)
    return WeightFile(path, source, sha256, tensors, (Known(0, header),))


def _entries(path: str, header: bytes) -> dict[str, dict[str, Any]]:
    try:
        document: Any = json.loads(header)
    except (ValueError, RecursionError) as error:
        raise StagingError(f"the header of {path} must be JSON, got {error}") from error
    if not isinstance(document, dict):
        raise StagingError(f"the header of {path} must be a JSON object, got {document!r:.60}")
    entries = {k: v for k, v in cast(dict[str, Any], document).items() if k != "__metadata__"}
    if not 0 < len(entries) <= MAX_TENSORS or not all(isinstance(entry, dict) for entry in entries.values()):
        raise StagingError(f"{path} must hold 1 to {MAX_TENSORS} tensors, got {len(entries)} entries")
    return entries


def _tensor(path: str, name: str, entry: dict[str, Any], base: int) -> Tensor:
    dtype = entry.get("dtype")
    if not isinstance(dtype, str) or dtype not in ITEM_SIZES:
        raise StagingError(f"the dtype of {name} in {path} must be one of {', '.join(ITEM_SIZES)}, got {dtype!r}")
    match entry.get("data_offsets"):
        case [int(start), int(stop)] if start >= 0:
            tensor = Tensor(name, dtype, check_shape(name, entry.get("shape")), base + start)
            if stop - start == tensor.nbytes:
                return tensor
        case _:
            pass
    raise StagingError(f"the data_offsets of {name} in {path} must fit its shape, got {entry.get('data_offsets')!r}")


def _check_dense(path: str, tensors: list[Tensor], base: int, size: int) -> None:
    end = base
    for tensor in tensors:
        if tensor.start != end:
            raise StagingError(f"{tensor.name} in {path} must begin at byte {end}, got {tensor.start}")
        end = tensor.end
    if end != size:
        raise StagingError(f"the tensors of {path} must end with the file at byte {size}, got {end}")
