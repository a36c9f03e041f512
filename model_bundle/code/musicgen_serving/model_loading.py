"""Load a staged model: its manifest (docs/contracts.md, "Tarball"), the generator and the S3 store."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

from musicgen_serving.audio_download import AudioSource
from musicgen_serving.audio_input import AudioInput
from musicgen_serving.audio_output import missing_formats, writable_formats
from musicgen_serving.audio_upload import UPLOADS_TOGETHER, AudioStore
from musicgen_serving.device import choose_device
from musicgen_serving.engine.generator import Capacity, Generator
from musicgen_serving.engine.loading import WeightFormat
from musicgen_serving.http.music_fields import MAX_CLIPS
from musicgen_serving.http.tracking import RequestTracker
from musicgen_serving.json_log import JsonLog
from musicgen_serving.settings import Settings

LAYOUT = 1
S3_CONFIG = Config(
    retries={"mode": "standard", "total_max_attempts": 5},
    connect_timeout=10,
    read_timeout=60,  # a clip is at most 4 MB: a minute without an answer is a fault, so retry
    s3={"us_east_1_regional_endpoint": "regional"},  # botocore's default there is the global endpoint
)
# Progress and cancellation are looked at again soon, so a call that fails is not worth waiting for, or repeating.
TRACKING_CONFIG = S3_CONFIG.merge(
    Config(retries={"mode": "standard", "total_max_attempts": 1}, connect_timeout=1, read_timeout=1)
)


@dataclass(frozen=True)
class Checkpoint:
    """An unpacked model: its folder, its id on the Hub, the commit it was staged from, and a licence."""

    folder: Path
    model_id: str
    revision: str
    license: str = ""  # of the weights

    @property
    def size(self) -> str:
        """The model's name without `musicgen-`, such as `large` or `stereo-small`."""
        name = self.model_id.rsplit("/", 1)[-1].removeprefix("musicgen-")
        return re.sub(r"[^a-z0-9-]", "-", name.lower())


@dataclass(frozen=True)
class Model:
    """A loaded model, shared by all requests."""

    checkpoint: Checkpoint
    generator: Generator
    store: AudioStore
    tracker: RequestTracker
    audio_input: AudioInput


def read_checkpoint(folder: Path) -> Checkpoint:
    """Read the manifest of the model unpacked at `folder`; ValueError if it is missing or invalid."""
    path = folder / "musicgen-manifest.json"
    if not path.is_file():
        raise ValueError(f"{folder} has no {path.name}; it is not a staged model")
    manifest = json.loads(path.read_text(encoding="utf-8"))
    if manifest.get("layout") != LAYOUT:
        raise ValueError(f"{path} must have layout {LAYOUT}, got {manifest.get('layout')!r}")
    for name in ("model_id", "revision"):
        value = manifest.get(name)
        if not isinstance(value, str) or not value:
            raise ValueError(f"{path} must have a string {name}, got {value!r}")
    weights_license = manifest.get("license")
    return Checkpoint(
        folder, manifest["model_id"], manifest["revision"], weights_license if isinstance(weights_license, str) else ""
    )


def s3_client(connections: int, config: Config = S3_CONFIG) -> Any:  # boto3's clients have no static types
    """Return a client of the region's own S3 endpoint; ValueError if no region is configured.

    botocore would then use the global endpoint, which cannot be reached from a private network, China or GovCloud.
    `connections` are kept for reuse: with botocore's 10, every upload beyond them would open, and close, its own.
    """
    session = boto3.Session()
    if not session.region_name:
        raise ValueError("AWS_DEFAULT_REGION must be set in the container's environment (botocore ignores AWS_REGION)")
    return session.client("s3", config=config.merge(Config(max_pool_connections=connections)))  # pyright: ignore[reportUnknownMemberType]


def load_model(folder: Path, settings: Settings, log: JsonLog) -> Model:
    """Load the model unpacked at `folder` and run a warm-up generation.

    Raises CudaUnavailableError, or ValueError if the model cannot be served.
    """
    device = choose_device(settings, log)
    checkpoint = read_checkpoint(folder)
    client = s3_client(settings.max_concurrent_requests * UPLOADS_TOGETHER)
    store = AudioStore(client, settings.buckets)
    tracker = RequestTracker(s3_client(2, TRACKING_CONFIG), settings.output_bucket, log)
    generator = Generator(
        folder,
        weight_format=WeightFormat(dtype=settings.decoder_dtype, eight_bit=settings.weight_quantisation == "int8"),
        capacity=Capacity.for_requests(settings.max_concurrent_requests, MAX_CLIPS, device),
        device=device,
        log=log,
        hang_seconds=settings.hang_seconds,
    )
    log.write("audio_formats", writable=writable_formats(), missing=missing_formats())
    log.metric("path", "SlowPath", len(generator.path.replaced), settings.endpoint, **generator.path.fields)
    source = AudioSource.of_buckets(client, settings.input_bucket, settings.buckets)
    audio_input = AudioInput(source, generator.sampling_rate, generator.channels)
    return Model(checkpoint, generator, store, tracker, audio_input)
