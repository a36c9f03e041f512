"""A tiny model repository in memory, and the objects that staging it must produce."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from safetensors.numpy import save

from stage_model.archive.staging_plan import SizeLimits, StagingInputs, collect_inputs
from stage_model.errors import LossyCastError
from stage_model.request import StagedModelRequest
from stage_model.source.byte_source import BytesSource, Views, total_length
from stage_model.source.repository_listing import RepoFile
from stage_model.upload.journal import ResumePoint
from stage_model.upload.pipeline import PartProducer
from staging_simulation.scheduler import Faults

BUNDLE = {"inference.py": b"model_fn = None\n"}
LIMITS = SizeLimits(shard=200_000, part_blocks=1, cast_part_blocks=1)
BUCKET, PREFIX = "artifacts", "models/Stack/StagedModel/"


def properties_of(properties: dict[str, str]) -> dict[str, str]:
    """Return the resource's properties, with these in place of the defaults."""
    base = {"CodeBucket": "assets", "CodeKey": "bundle.zip", "ModelBucket": BUCKET, "KeyPrefix": PREFIX}
    return {"ModelId": "facebook/musicgen-tiny", "Revision": "a" * 40, "DecoderDtype": "float16", **base, **properties}


@cache
def published(lossy: bool) -> dict[str, bytes]:
    """Return a repository's files; with `lossy` one tensor cannot be cast to float16."""
    rng = np.random.default_rng(7)
    weights = {f"decoder.{i}": rng.standard_normal((100, 150)).astype("f2").astype("f4") for i in range(5)}
    weights["text_encoder.shared"] = rng.standard_normal((50, 100)).astype("f4")
    if lossy:
        weights["decoder.3x"] = np.sin(np.arange(2000, dtype="f4"))
    return {"config.json": json.dumps({"dtype": "float32"}).encode(), "model.safetensors": save(weights)}


@cache
def listed(lossy: bool) -> Sequence[RepoFile]:
    """Return the listing of `published`."""
    files = published(lossy).items()
    return tuple(RepoFile(path, len(data), hashlib.sha256(data).hexdigest(), None) for path, data in files)


@dataclass
class FaultySource:
    """A file whose reads take time (`wait`) and may be damaged."""

    data: bytes
    wait: Callable[[], None]
    damage: Callable[[bytes], bytes]

    @property
    def size(self) -> int:
        return len(self.data)

    def read_into(self, offset: int, views: Views) -> None:
        self.wait()
        BytesSource(self.damage(self.data[offset : offset + total_length(views)])).read_into(0, views)


@dataclass
class MemoryHub:
    """A commit in memory; with `corrupt` its weights do not match their checksum."""

    lossy: bool
    faults: Faults | None = None
    corrupt: bool = False

    def list_files(self) -> Sequence[RepoFile]:
        if self.faults:
            self.faults.work()
        return listed(self.lossy)

    def open(self, file: RepoFile) -> FaultySource:
        data = published(self.lossy)[file.path]
        if self.corrupt and file.path == "model.safetensors":
            data = data[:-9] + bytes([data[-9] ^ 4]) + data[-8:]
        if self.faults is None:
            return FaultySource(data, lambda: None, lambda read: read)
        return FaultySource(data, self.faults.work, self.faults.damage_at_source)


@cache
def expected_objects(packaging: str, dtype: str, revision: str, lossy: bool) -> dict[str, bytes]:
    """Return the objects of a correct staging, built without the protocol."""
    model_id = properties_of({})["ModelId"]
    request = StagedModelRequest(model_id, revision, dtype, "assets", "bundle.zip", BUCKET, PREFIX, packaging)
    inputs = collect_inputs(request, MemoryHub(lossy), BUNDLE, LIMITS)
    keep: list[str] = []
    while True:
        try:
            return _build_objects(inputs, keep)
        except LossyCastError as error:
            keep += error.names


def _build_objects(inputs: StagingInputs, keep_float32: Sequence[str]) -> dict[str, bytes]:
    plan = inputs.plan(keep_float32)
    producer, objects = PartProducer(plan, ResumePoint()), dict[str, bytes]()
    *tasks, last = producer.tasks
    for task in tasks:
        built = producer.build(task, memoryview(bytearray(producer.buffer_size)))
        producer.hash(task, built)
        key = plan.objects[task.target].key
        objects[key] = objects.get(key, b"") + bytes(built.frame)
    key = plan.objects[last.target].key
    objects[key] = objects.get(key, b"") + bytes(producer.build_last(last).frame)
    return objects
