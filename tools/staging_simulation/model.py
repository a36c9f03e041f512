"""What is staged in the simulation: a tiny repository in memory, and the bytes that a right staging of it gives."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from safetensors.numpy import save

from stage_model.assembly import Assembly
from stage_model.errors import LossyCastError
from stage_model.gather import gather
from stage_model.materials import Materials, Sizes
from stage_model.progress import Resume
from stage_model.repository import RepoFile
from stage_model.request import StagedModelRequest
from stage_model.sources import BytesSource
from stage_model.views import Views, total_length
from staging_simulation.faults import Faults

BUNDLE = {"inference.py": b"model_fn = None\n"}
SIZES = Sizes(shard=200_000, part_blocks=1, cast_part_blocks=1)
BUCKET, PREFIX = "artifacts", "models/Stack/StagedModel/"


def request_of(properties: dict[str, str]) -> dict[str, str]:
    """Return a resource's properties."""
    base = {"CodeBucket": "assets", "CodeKey": "bundle.zip", "ModelBucket": BUCKET, "KeyPrefix": PREFIX}
    return {"ModelId": "facebook/musicgen-tiny", "Revision": "a" * 40, "DecoderDtype": "float16", **base, **properties}


@cache
def published(lossy: bool) -> dict[str, bytes]:
    """Return a repository's files; with `lossy` there is a tensor that float16 would damage."""
    rng = np.random.default_rng(7)
    weights = {f"decoder.{i}": rng.standard_normal((100, 150)).astype("f2").astype("f4") for i in range(5)}
    weights["text_encoder.shared"] = rng.standard_normal((50, 100)).astype("f4")
    if lossy:
        weights["decoder.3x"] = np.sin(np.arange(2000, dtype="f4"))
    return {"config.json": json.dumps({"dtype": "float32"}).encode(), "model.safetensors": save(weights)}


@dataclass
class FaultySource:
    """A file whose reading takes time; `damage` is what arrives of its bytes."""

    data: bytes
    between: Callable[[], None]
    damage: Callable[[bytes], bytes]

    @property
    def size(self) -> int:
        return len(self.data)

    def read_into(self, offset: int, views: Views) -> None:
        self.between()
        BytesSource(self.damage(self.data[offset : offset + total_length(views)])).read_into(0, views)


@dataclass
class MemoryHub:
    """A commit in memory; with `wrong` a bit of its weights is not what their checksum says."""

    lossy: bool
    faults: Faults | None = None
    wrong: bool = False

    def list_files(self) -> Sequence[RepoFile]:
        if self.faults:
            self.faults.work()
        return [
            RepoFile(path, len(data), hashlib.sha256(data).hexdigest(), None)
            for path, data in published(self.lossy).items()
        ]

    def open(self, file: RepoFile) -> FaultySource:
        data = published(self.lossy)[file.path]
        if self.wrong and file.path == "model.safetensors":
            data = data[:-9] + bytes([data[-9] ^ 4]) + data[-8:]
        if self.faults is None:
            return FaultySource(data, lambda: None, lambda read: read)
        return FaultySource(data, self.faults.work, self.faults.damage_at_source)


@cache
def right_objects(packaging: str, dtype: str, revision: str, lossy: bool) -> dict[str, bytes]:
    """Return the objects that a right staging leaves, made in one go without any protocol."""
    model_id = request_of({})["ModelId"]
    request = StagedModelRequest(model_id, revision, dtype, "assets", "bundle.zip", BUCKET, PREFIX, packaging)
    materials = gather(request, MemoryHub(lossy), BUNDLE, SIZES)
    kept: list[str] = []
    while True:
        try:
            return _make(materials, kept)
        except LossyCastError as error:
            kept += error.names


def _make(materials: Materials, kept: Sequence[str]) -> dict[str, bytes]:
    plan = materials.plan(kept)
    assembly, made = Assembly(plan, plan.objects, Resume()), dict[str, bytes]()
    *jobs, last = assembly.jobs
    for job in jobs:
        built = assembly.build(job, memoryview(bytearray(assembly.buffer_size)))
        assembly.take(job, built)
        key = plan.objects[job.target].key
        made[key] = made.get(key, b"") + bytes(built.frame)
    key = plan.objects[last.target].key
    made[key] = made.get(key, b"") + bytes(assembly.build_last(last).frame)
    return made
