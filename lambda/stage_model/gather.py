"""Fetching and checking what a request asks for, up to but not including the weights' bytes."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, cast

from stage_model.errors import StagingError
from stage_model.listing import read_small
from stage_model.manifest import FileNote
from stage_model.materials import Materials, Sizes
from stage_model.plan import StagedFile
from stage_model.repository import RepoFile, Repository
from stage_model.request import StagedModelRequest
from stage_model.safetensors_index import index_safetensors
from stage_model.selection import find_weights, resolve_shards, support_files
from stage_model.shards import DECODER, staged_dtype
from stage_model.sources import CopyReader
from stage_model.tensors import WeightFile
from stage_model.torch_index import index_torch


def gather(
    request: StagedModelRequest, repository: Repository, bundle: Mapping[str, bytes], sizes: Sizes | None = None
) -> Materials:
    """Choose the files, read the small ones and the weights' headers.

    Raises StagingError when the repository cannot be staged.
    """
    listing = repository.list_files()
    kind, lead = find_weights(listing)
    small = {file.path: read_small(repository, file) for file in support_files(listing)}
    small |= {f"code/{path}": data for path, data in bundle.items()}
    published, index = [lead], None
    if lead.path.endswith(".index.json"):
        index = read_small(repository, lead)
        published = resolve_shards(listing, lead.path, index)
    weights = [_index(kind, file, repository) for file in published]
    sizes = sizes or Sizes()
    notes = [FileNote(file.path, file.source.size, file.sha256) for file in weights]
    if kind == "torch" or _casts_any(weights, request.decoder_dtype):
        small["config.json"] = loads_in_float32(small["config.json"])
        return Materials(request, small, notes, (), weights, (), sizes)
    if index is not None:
        small[lead.path] = index
    copied = [StagedFile(file.path, CopyReader(file.path, file.source, file.sha256)) for file in weights]
    types = {tensor.dtype for file in weights for tensor in file.tensors if tensor.name.startswith(DECODER)}
    return Materials(request, small, notes, copied, (), types, sizes)


def loads_in_float32(config: bytes) -> bytes:
    """Return a config.json with which `transformers` loads every weight as float32, upcasting what is smaller.

    `from_pretrained` gives the whole model the top-level type and ignores nested ones; without any it would take the
    first weight's. Raises StagingError for a config.json that is not a JSON object.
    """
    try:
        document: Any = json.loads(config)
    except (ValueError, RecursionError) as error:
        raise StagingError(f"config.json must be JSON, got {error}") from error
    if not isinstance(document, dict):
        raise StagingError(f"config.json must be a JSON object, got {document!r:.60}")
    fields = cast(dict[str, Any], document)
    if fields.get("dtype", fields.get("torch_dtype")) == "float32":
        return config
    fields.pop("torch_dtype", None)
    return json.dumps({**fields, "dtype": "float32"}, indent=2).encode() + b"\n"


def _index(kind: str, file: RepoFile, repository: Repository) -> WeightFile:
    if file.sha256 is None:
        raise StagingError(f"{file.path} must be an LFS file, whose SHA-256 the Hub gives")
    index = index_torch if kind == "torch" else index_safetensors
    return index(file.path, repository.open(file), file.sha256)


def _casts_any(weights: Sequence[WeightFile], decoder_dtype: str) -> bool:
    tensors = (tensor for file in weights for tensor in file.tensors)
    return any(staged_dtype(tensor, decoder_dtype, ()) != tensor.dtype for tensor in tensors)
