"""What a request stages, complete before any weights are transferred: inputs, staged files, manifest and objects."""

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from stage_model.archive.object_layout import (
    BLOCK,
    CAST_PART_BLOCKS,
    PART_BLOCKS,
    PARTS_IN_FLIGHT,
    Member,
    StagedObject,
    file_objects,
    tarball_object,
)
from stage_model.errors import StagingError
from stage_model.memory import MemoryBudget, json_cost
from stage_model.request import StagedModelRequest
from stage_model.source.byte_source import BytesSource, CopyReader, Reader, Stream
from stage_model.source.repository_listing import RepoFile, Repository, read_verified
from stage_model.weights.architecture import EXTRACTORS, check_config, check_elements, check_extractor
from stage_model.weights.file_selection import MANIFEST, find_weights, support_files
from stage_model.weights.model_card import read_license
from stage_model.weights.published_weights import read_exported, read_weights
from stage_model.weights.safetensors_header import WeightFile
from stage_model.weights.staged_shards import (
    DECODER,
    MAX_GAPS,
    MAX_SHARD,
    Shard,
    ShardReader,
    check_names,
    first_stream,
    make_shards,
    reread_slots,
    shard_index,
    source_stream,
    staged_dtype,
)

VERSION_FILE = "code/VERSION"  # of the bundle
_LAYOUT_VERSION = 1
_LICENSE = "CC-BY-NC-4.0 (model weights)"  # of the published models
_PLACEHOLDER = "0" * 64  # as long as the SHA-256 that replaces it
_MAX_CONFIG = 4 << 20  # bytes of a config.json whose dtype is changed; MusicGen's has 8 kB


@dataclass(frozen=True)
class ManifestEntry:
    """A file: path, size in bytes, and its published SHA-256, or None for a file that was not published as staged."""

    path: str
    size: int
    source_sha256: str | None


@dataclass(frozen=True)
class Manifest:
    """The content of `musicgen-manifest.json`, except for the SHA-256 of the staged files.

    `sources` are published files that were converted; `kept_float32` are decoder tensors that float16 would damage;
    `version` is the bundle's; `license` is that of the weights, None if it is unknown.
    """

    model_id: str
    revision: str
    decoder_dtype: str
    files: Sequence[ManifestEntry]
    sources: Sequence[ManifestEntry] = ()
    kept_float32: Sequence[str] = ()
    version: str | None = None
    license: str | None = _LICENSE

    @property
    def size(self) -> int:
        """The length of the rendered manifest in bytes, whatever the checksums."""
        return len(self.render({entry.path: _PLACEHOLDER for entry in self.files}))

    def render(self, sha256: Mapping[str, str]) -> bytes:
        """Return the JSON document, given each staged file's SHA-256 in hexadecimal by path."""
        document = {
            "layout": _LAYOUT_VERSION,
            "version": self.version,
            "model_id": self.model_id,
            "revision": self.revision,
            "decoder_dtype": self.decoder_dtype,
            "license": self.license,
            "files": [
                {"path": e.path, "size": e.size, "sha256": sha256[e.path], "source_sha256": e.source_sha256}
                for e in self.files
            ],
            "sources": [{"path": e.path, "size": e.size, "sha256": e.source_sha256} for e in self.sources],
            "kept_float32": list(self.kept_float32),
        }
        return json.dumps(document, indent=1).encode() + b"\n"


@dataclass(frozen=True)
class StagedFile:
    """One file of the staged model: its path there, and the reader that produces its bytes."""

    path: str
    reader: Reader


@dataclass(frozen=True)
class Plan:
    """The staged model: `files` in order, then the manifest; the `objects` that hold them; the `streams` to hash.

    `key` is the resource's physical id: the tarball's key, or the prefix of the files.
    """

    key: str
    files: Sequence[StagedFile]
    manifest: Manifest
    streams: Sequence[Stream]
    objects: Sequence[StagedObject]

    @property
    def layout_id(self) -> str:
        """A hash that must be equal for a run to continue with another run's parts."""
        files = [(file.path, file.reader.size) for file in self.files]
        parts = [(obj.key, [(part.start, part.stop) for part in obj.parts]) for obj in self.objects]
        return hashlib.sha256(json.dumps([files, list(self.manifest.kept_float32), parts]).encode()).hexdigest()


@dataclass(frozen=True)
class SizeLimits:
    """The largest size of shards (bytes) and of parts (blocks of 65,535 bytes)."""

    shard: int = MAX_SHARD
    part_blocks: int = PART_BLOCKS
    cast_part_blocks: int = CAST_PART_BLOCKS


@dataclass(frozen=True)
class StagingInputs:
    """Everything that a request stages. `small_files` are whole files by staged path.

    `copied` are weights staged as published, with decoder tensors of `decoder_dtypes`; `converted` are weights that are
    cast or change their format.
    """

    request: StagedModelRequest
    small_files: Mapping[str, bytes]
    published: Sequence[ManifestEntry]
    copied: Sequence[StagedFile]
    converted: Sequence[WeightFile]
    decoder_dtypes: Collection[str] = ()
    limits: SizeLimits = field(default_factory=SizeLimits)
    license: str | None = _LICENSE

    @property
    def digest(self) -> str:
        """The SHA-256 of all inputs, which names the object: equal inputs have the same key."""
        request, published = self.request, [(entry.path, entry.size, entry.source_sha256) for entry in self.published]
        small_files = [(path, hashlib.sha256(data).hexdigest()) for path, data in self.small_files.items()]
        options = [_LAYOUT_VERSION, request.model_id, request.revision, request.decoder_dtype, request.packaging]
        options += [] if self.license == _LICENSE else [self.license]
        return hashlib.sha256(json.dumps([options, published, small_files]).encode()).hexdigest()

    def plan(self, keep_float32: Collection[str]) -> Plan:
        """Return the layout of all objects; the tensors named in `keep_float32` are not cast."""
        small_files = dict(self.small_files)
        shards: list[Shard] = []
        if self.converted:
            shards = make_shards(self.converted, self.request.decoder_dtype, keep_float32, self.limits.shard)
        if len(shards) > 1:
            small_files["model.safetensors.index.json"] = shard_index(shards)
        files = [
            StagedFile(path, CopyReader(path, BytesSource(data), hashlib.sha256(data).hexdigest()))
            for path, data in small_files.items()
        ]
        reread = reread_slots(shards)
        files += [StagedFile(shard.path, ShardReader(shard, self.converted, reread)) for shard in shards]
        files += self.copied
        streams = [stream for file in files for stream in file.reader.streams]
        streams += [Stream(source_stream(file), file.source.size, file.sha256) for file in self.converted]
        streams += [Stream(first_stream(slot), slot.tensor.nbytes) for slot in reread if slot.nbytes]
        manifest = self._manifest(files, shards, keep_float32)
        members = [*(Member(file.path, file.reader.size) for file in files), Member(MANIFEST, manifest.size)]
        blocks = self.limits.cast_part_blocks if self.converted else self.limits.part_blocks
        key = f"{self.request.key_prefix}{self.digest}/"
        if self.request.packaging == "uncompressed":
            key += "model/"
            return Plan(key, files, manifest, streams, file_objects(key, members, blocks))
        key += "model.tar.gz"
        return Plan(key, files, manifest, streams, [tarball_object(key, members, blocks)])

    def _manifest(self, files: Sequence[StagedFile], shards: Sequence[Shard], kept: Collection[str]) -> Manifest:
        entries = [ManifestEntry(file.path, file.reader.size, file.reader.streams[0].sha256) for file in files]
        sources = [ManifestEntry(file.path, file.source.size, file.sha256) for file in self.converted]
        staged = {slot.dtype for shard in shards for slot in shard.slots if slot.tensor.name.startswith(DECODER)}
        dtype = "float16" if "F16" in (staged or self.decoder_dtypes) else "float32"
        version = self.small_files.get(VERSION_FILE, b"").decode("ascii", "replace").strip() or None
        commit = self.request.model_id, self.request.revision
        return Manifest(*commit, dtype, entries, sources, sorted(kept), version, self.license)


def collect_inputs(
    request: StagedModelRequest, repository: Repository, bundle: Mapping[str, bytes], limits: SizeLimits | None = None,
    *, companion: Repository | None = None,
) -> StagingInputs:  # fmt: skip
    """Select the files, and read the small ones and the headers of the weights.

    A custom model is checked here; of `companion` is read what its audiocraft files do not hold. Raises StagingError if
    the repository cannot be staged.
    """
    memory, listing, limits = MemoryBudget(), repository.list_files(), limits or SizeLimits()
    custom = request.custom
    kind, lead = find_weights(listing, custom=custom is not None)
    completing = companion if kind == "audiocraft" else None
    _charge_transfer(memory, [*listing, *(completing.list_files() if completing else [])], limits)
    memory.charge("the bundle", sum(map(len, bundle.values())))
    index = None
    if custom and completing:
        name = custom.companion.model_id
        weights, small_files = read_exported(repository, listing, completing, name, memory)
    else:
        small_files = {file.path: read_verified(repository, file, memory) for file in support_files(listing)}
        weights, index = read_weights(kind, lead, repository, listing, memory)
    weights_license = _LICENSE if custom is None else read_license(repository, listing, memory)
    if custom is not None:
        with memory.lend("config.json", json_cost(small_files["config.json"])):
            check_config(memory.parse_json("config.json", small_files["config.json"]), custom.size)
        for name in [name for name in EXTRACTORS if name in small_files]:
            with memory.lend(name, json_cost(small_files[name])):
                check_extractor(name, memory.parse_json(name, small_files[name]), custom.size)
        check_elements(weights, custom.size)
    small_files |= {f"code/{path}": data for path, data in bundle.items()}
    check_names(weights)
    entries = [ManifestEntry(file.path, file.source.size, file.sha256) for file in weights]
    tensors = [tensor for file in weights for tensor in file.tensors]
    changes = (staged_dtype(tensor, request.decoder_dtype, ()) != tensor.dtype for tensor in tensors)
    if kind != "safetensors" or any(changes):
        small_files["config.json"] = with_float32_dtype(small_files["config.json"], memory)
        return StagingInputs(request, small_files, entries, (), weights, (), limits, weights_license)
    if index is not None:
        small_files[lead.path] = index
    copied = [StagedFile(file.path, CopyReader(file.path, file.source, file.sha256)) for file in weights]
    dtypes = {tensor.dtype for tensor in tensors if tensor.name.startswith(DECODER)}
    return StagingInputs(request, small_files, entries, copied, (), dtypes, limits, weights_license)


def _charge_transfer(memory: MemoryBudget, listing: Sequence[RepoFile], limits: SizeLimits) -> None:
    """Charge what the parts in flight take: their bytes, and up to twice as many of their source if they are cast."""
    part = max(limits.part_blocks, 3 * limits.cast_part_blocks) * BLOCK
    total = sum(file.size for file in listing)
    memory.charge("the parts in flight", min(2 * total, PARTS_IN_FLIGHT * part) + min(total, MAX_GAPS))


def with_float32_dtype(config: bytes, memory: MemoryBudget) -> bytes:
    """Return a config.json with which `transformers` loads all weights as float32, upcasting smaller types.

    `from_pretrained` applies the top-level dtype to the whole model and ignores nested ones; without one it would use
    the first weight's. Raises StagingError for a config.json that is not a JSON object, or too large.
    """
    with memory.lend("config.json", json_cost(config) + 2 * _MAX_CONFIG):
        document: Any = memory.parse_json("config.json", config)
        if not isinstance(document, dict):
            raise StagingError(f"config.json must be a JSON object, got {document!r:.60}")
        fields = cast(dict[str, Any], document)
        if fields.get("dtype", fields.get("torch_dtype")) == "float32":
            return config
        fields.pop("torch_dtype", None)
        return _indented({**fields, "dtype": "float32"})


def _indented(document: Mapping[str, Any]) -> bytes:
    """Return a config.json. Raises StagingError for a large one: indentation can multiply nested arrays by 1,000."""
    text = bytearray()
    try:
        for chunk in json.JSONEncoder(indent=2).iterencode(document):
            text += chunk.encode()
            if len(text) > _MAX_CONFIG:
                raise StagingError(f"config.json must be at most {_MAX_CONFIG} bytes with indentation, got more")
    except RecursionError as error:
        raise StagingError("config.json must be nested less deeply") from error
    return bytes(text) + b"\n"
