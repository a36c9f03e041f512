"""Reads where the tensors of a repository are: from headers only, in any of the formats that are staged."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

from stage_model.errors import StagingError
from stage_model.memory import MemoryBudget, json_cost
from stage_model.source.byte_source import BytesSource
from stage_model.source.repository_listing import RepoFile, Repository, read_verified
from stage_model.weights import audiocraft
from stage_model.weights.architecture import EXTRACTOR
from stage_model.weights.file_selection import AUDIOCRAFT, find_weights, resolve_shards, support_files
from stage_model.weights.safetensors_header import WeightFile, index_safetensors
from stage_model.weights.skipped_bytes import WINDOW
from stage_model.weights.torch_zip import Package, index_package, index_torch


def read_weights(
    kind: str, lead: RepoFile, repository: Repository, listing: Sequence[RepoFile], memory: MemoryBudget
) -> tuple[list[WeightFile], bytes | None]:
    """Return the files of weights in the format of `transformers`, and their index if there is one."""
    published, index = [lead], None
    if lead.path.endswith(".index.json"):
        index = read_verified(repository, lead, memory)
        published = resolve_shards(listing, lead.path, index, memory)
    read = index_torch if kind == "torch" else index_safetensors
    return [read(file.path, repository.open(file), _sha256(file), memory) for file in published], index


def read_exported(
    repository: Repository, listing: Sequence[RepoFile], companion: Repository, companion_id: str, memory: MemoryBudget
) -> tuple[list[WeightFile], dict[str, bytes]]:
    """Return the weights and the small files of a model that audiocraft exported, completed by its companion.

    Raises StagingError if either cannot be read, or they do not fit each other.
    """
    files = {file.path: file for file in listing}
    language_model, compression = (_package(repository, files[name], memory) for name in AUDIOCRAFT)
    others = companion.list_files()
    small_files = {file.path: read_verified(companion, file, memory) for file in support_files(others)}
    kind, lead = find_weights(others)
    weights = [
        replace(file, path=f"{companion_id}/{file.path}")
        for file in read_weights(kind, lead, companion, others, memory)[0]
    ]
    memory.charge("reading what is skipped", WINDOW)
    with memory.lend("config.json", json_cost(small_files["config.json"])):
        config = memory.parse_json("config.json", small_files["config.json"])
        if not isinstance(config, dict):
            raise StagingError(f"config.json of {companion_id} must be a JSON object, got a {type(config).__name__}")
        converted = audiocraft.convert(language_model, compression, weights, cast(Mapping[str, Any], config))
    small_files["config.json"] = converted.config
    if converted.channels == 2 and EXTRACTOR in small_files:
        small_files[EXTRACTOR] = _for_stereo(small_files[EXTRACTOR], memory)
    return list(converted.weights), small_files


def _package(repository: Repository, file: RepoFile, memory: MemoryBudget) -> Package:
    package = index_package(file.path, repository.open(file), _sha256(file), memory)
    if package.pretrained is None:
        return package
    # A name only: the file is not read again while the weights are staged, so its checksum is compared here.
    return index_package(file.path, BytesSource(read_verified(repository, file, memory)), _sha256(file), memory)


def _for_stereo(extractor: bytes, memory: MemoryBudget) -> bytes:
    document = memory.parse_json(EXTRACTOR, extractor)
    fields = cast(dict[str, Any], document) if isinstance(document, dict) else {}
    return json.dumps({**fields, "feature_size": 2}, indent=2).encode() + b"\n"


def _sha256(file: RepoFile) -> str:
    if file.sha256 is None:
        raise StagingError(f"{file.path} must be an LFS file, whose SHA-256 the Hub gives")
    return file.sha256
