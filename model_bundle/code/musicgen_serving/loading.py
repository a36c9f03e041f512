"""From an unpacked tarball and the container's settings to a model that serves."""

from pathlib import Path

import boto3
from botocore.config import Config

from musicgen_serving.checkpoint import read_checkpoint
from musicgen_serving.engine.generator import Capacity, Generator
from musicgen_serving.engine.loading import WeightFormat
from musicgen_serving.json_log import JsonLog
from musicgen_serving.prediction import Model
from musicgen_serving.request import MAX_TEXTS
from musicgen_serving.settings import Settings
from musicgen_serving.store import AudioStore

# A clip is at most 4 MB: minutes without an answer are a fault, which the retries then meet.
S3 = Config(retries={"mode": "standard", "total_max_attempts": 5}, connect_timeout=10, read_timeout=60)


def load_model(folder: Path, settings: Settings, log: JsonLog) -> Model:
    """Load the model unpacked at `folder` and prove it with a generation; ValueError for what cannot be served."""
    checkpoint = read_checkpoint(folder)
    store = AudioStore(boto3.client("s3", config=S3), settings.buckets)  # pyright: ignore[reportUnknownMemberType]
    generator = Generator(
        folder,
        weight_format=WeightFormat(dtype=settings.decoder_dtype, eight_bit=settings.weight_quantisation == "int8"),
        capacity=Capacity.for_requests(settings.max_concurrent_requests, MAX_TEXTS),
        log=log,
    )
    return Model(checkpoint, generator, store)
