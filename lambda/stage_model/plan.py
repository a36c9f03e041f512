"""What will be staged, complete before the first byte of weights moves: files, checksums, and the key they lead to."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from stage_model.errors import StagingError
from stage_model.hub import HubRepository, RepoFile
from stage_model.manifest import LAYOUT, FileNote, Manifest
from stage_model.request import StagedModelRequest
from stage_model.selection import find_weights, resolve_shards, support_files
from stage_model.sources import BytesSource, CopyReader, Reader


@dataclass(frozen=True)
class StagedFile:
    """One file of the staged model: its path there, and what makes its bytes."""

    path: str
    reader: Reader


@dataclass(frozen=True)
class Plan:
    """The staged model: its files in order, `manifest.json` (to be appended), and the digest of everything."""

    files: Sequence[StagedFile]
    manifest: Manifest
    digest: str


def make_plan(request: StagedModelRequest, repository: HubRepository, bundle: Mapping[str, bytes]) -> Plan:
    """Choose and check the files. Reads the small ones; leaves the weights for later.

    Raises StagingError when the repository cannot be staged.
    """
    listing = repository.list_files()
    kind, lead = find_weights(listing)
    if kind != "safetensors":
        raise StagingError(f"the weights must be safetensors, got {lead.path}")
    files = [_small(file, repository) for file in support_files(listing)]
    files += [_in_memory(f"code/{path}", data) for path, data in bundle.items()]
    weights = [lead]
    if lead.path.endswith(".index.json"):
        index = repository.read_small(lead)
        files.append(_in_memory(lead.path, index))
        weights = resolve_shards(listing, lead.path, index)
    files += [_weight(file, repository) for file in weights]
    return _plan(request, files)


def _plan(request: StagedModelRequest, files: Sequence[StagedFile]) -> Plan:
    notes = [FileNote(file.path, file.reader.size, file.reader.streams[0].sha256) for file in files]
    manifest = Manifest(request.model_id, request.revision, "float32", notes)
    return Plan(files, manifest, _digest(request, manifest))


def _digest(request: StagedModelRequest, manifest: Manifest) -> str:
    """Return the SHA-256 over every input: equal inputs lead to the same key, any change to another."""
    inputs = [
        LAYOUT, request.model_id, request.revision, request.decoder_dtype,
        [(note.path, note.size, note.source_sha256) for note in manifest.files],
    ]  # fmt: skip
    return hashlib.sha256(json.dumps(inputs).encode()).hexdigest()


def _small(file: RepoFile, repository: HubRepository) -> StagedFile:
    return _in_memory(file.path, repository.read_small(file))


def _in_memory(path: str, data: bytes) -> StagedFile:
    return StagedFile(path, CopyReader(path, BytesSource(data), hashlib.sha256(data).hexdigest()))


def _weight(file: RepoFile, repository: HubRepository) -> StagedFile:
    if file.sha256 is None:
        raise StagingError(f"{file.path} must be an LFS file, whose SHA-256 the Hub gives")
    return StagedFile(file.path, CopyReader(file.path, repository.open(file), file.sha256))
