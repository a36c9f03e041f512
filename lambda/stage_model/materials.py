"""What plans are made from, fetched and checked once: small files, the bundle, and where the weights lie."""

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from stage_model.manifest import LAYOUT, MANIFEST, FileNote, Manifest
from stage_model.objects import CAST_PART_BLOCKS, PART_BLOCKS, StagedObject, separate_files, tarball
from stage_model.plan import Plan, StagedFile
from stage_model.request import StagedModelRequest
from stage_model.shard_reader import ShardReader, first_stream, source_stream
from stage_model.shards import DECODER, MAX_SHARD, Shard, make_shards, shard_index
from stage_model.sources import BytesSource, CopyReader, Stream
from stage_model.tar_layout import Member
from stage_model.tensors import WeightFile


@dataclass(frozen=True)
class Sizes:
    """How large shards (bytes) and parts (blocks of 65,535 bytes) may be; tests make them small."""

    shard: int = MAX_SHARD
    part_blocks: int = PART_BLOCKS
    cast_part_blocks: int = CAST_PART_BLOCKS


@dataclass(frozen=True)
class Materials:
    """Everything that a request asks to be staged. `small` are whole files by their staged path.

    `copied` are weights staged as published, whose decoder has `decoder_types`; `converted` are those to be cast or to
    change their format.
    """

    request: StagedModelRequest
    small: Mapping[str, bytes]
    published: Sequence[FileNote]
    copied: Sequence[StagedFile]
    converted: Sequence[WeightFile]
    decoder_types: Collection[str] = ()
    sizes: Sizes = field(default_factory=Sizes)

    @property
    def digest(self) -> str:
        """The SHA-256 over every input: equal inputs lead to the same key, any change to another."""
        request, published = self.request, [(note.path, note.size, note.source_sha256) for note in self.published]
        small = [(path, hashlib.sha256(data).hexdigest()) for path, data in self.small.items()]
        inputs = [LAYOUT, request.model_id, request.revision, request.decoder_dtype, request.packaging]
        return hashlib.sha256(json.dumps([inputs, published, small]).encode()).hexdigest()

    def plan(self, kept: Collection[str]) -> Plan:
        """Lay everything out; the tensors named in `kept` are not cast."""
        small = dict(self.small)
        shards: list[Shard] = []
        if self.converted:
            shards = make_shards(self.converted, self.request.decoder_dtype, kept, self.sizes.shard)
        if len(shards) > 1:
            small["model.safetensors.index.json"] = shard_index(shards)
        files = [_in_memory(path, data) for path, data in small.items()]
        watched = [slot for shard in shards for slot in shard.slots if slot.again and slot.tensor.data is None]
        files += [StagedFile(shard.path, ShardReader(shard, self.converted, watched)) for shard in shards]
        files += self.copied
        streams = [stream for file in files for stream in file.reader.streams]
        streams += [Stream(source_stream(file), file.source.size, file.sha256) for file in self.converted]
        streams += [Stream(first_stream(slot), slot.tensor.nbytes) for slot in watched if slot.nbytes]
        manifest = self._manifest(files, shards, kept)
        key = f"{self.request.key_prefix}{self.digest}/"
        key += "model/" if self.request.packaging == "uncompressed" else "model.tar.gz"
        return Plan(key, files, manifest, streams, self._objects(key, files, manifest))

    def _manifest(self, files: Sequence[StagedFile], shards: Sequence[Shard], kept: Collection[str]) -> Manifest:
        notes = [FileNote(file.path, file.reader.size, file.reader.streams[0].sha256) for file in files]
        sources = [FileNote(file.path, file.source.size, file.sha256) for file in self.converted]
        staged = {slot.dtype for shard in shards for slot in shard.slots if slot.tensor.name.startswith(DECODER)}
        dtype = "float16" if "F16" in (staged or self.decoder_types) else "float32"
        return Manifest(self.request.model_id, self.request.revision, dtype, notes, sources, sorted(kept))

    def _objects(self, key: str, files: Sequence[StagedFile], manifest: Manifest) -> Sequence[StagedObject]:
        blocks = self.sizes.cast_part_blocks if self.converted else self.sizes.part_blocks
        members = [Member(file.path, file.reader.size) for file in files]
        members.append(Member(MANIFEST, manifest.size))
        if self.request.packaging == "uncompressed":
            return separate_files(key, members, blocks)
        return [tarball(key, members, blocks)]


def _in_memory(path: str, data: bytes) -> StagedFile:
    return StagedFile(path, CopyReader(path, BytesSource(data), hashlib.sha256(data).hexdigest()))
