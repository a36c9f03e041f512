"""Fixtures: a loopback Hub and S3, and ways to invoke the staging function."""
# pyright: reportUnknownMemberType=false
# boto3.client is overloaded for every service, most of them without installed stubs.

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import boto3
import numpy as np
import pytest
from mypy_boto3_s3 import S3Client
from safetensors.numpy import save

import stage_model.archive.staging_plan
import stage_model.handler
import stage_model.retry
from local_aws.hub import LoopbackHub, Repository
from stage_model.archive.staging_plan import SizeLimits
from stage_model.handler import handler
from stage_model.s3 import s3_client
from tests.stage_model.fakes.lambda_runner import Lambda, bundle
from tests.stage_model.fakes.response_sink import ResponseSink
from tests.stage_model.fakes.s3 import LoopbackS3

REVISION = "0123456789abcdef0123456789abcdef01234567"
BUCKET = "artifacts"
PREFIX = "models/Stack/Model/"
BUNDLE = {"inference.py": b"model_fn = None\n"}


def decoder_like(seed: int, scale: int = 1) -> dict[str, np.ndarray[Any, Any]]:
    """Return weights as MusicGen publishes them: only the decoder's fp32 values were upcast from fp16."""
    rng = np.random.default_rng(seed)
    weights: dict[str, np.ndarray[Any, Any]] = {}
    for layer in range(4):
        values = rng.standard_normal((37 + layer, 53 * scale)).astype("f2").astype("f4")
        weights[f"decoder.model.decoder.layers.{layer}.fc1.weight"] = values
    weights["text_encoder.shared.weight"] = rng.standard_normal((11, 7 * scale)).astype("f4")
    weights["audio_encoder.quantizer.counts"] = np.arange(9, dtype="i8")
    return weights


@pytest.fixture(autouse=True)
def new_container() -> None:
    """Forget the S3 client of the last test's container, whose endpoint was another."""
    s3_client.cache_clear()


@pytest.fixture
def scale() -> int:
    """How large the weights are; a module may override it."""
    return 1


@pytest.fixture
def repository(scale: int) -> Repository:
    """A small model: single-file safetensors, configuration, tokenizer, and files that must not be staged."""
    files = {
        "config.json": json.dumps({"model_type": "musicgen", "dtype": "float32"}).encode(),
        "generation_config.json": b'{"max_length": 1500}',
        "tokenizer.json": b'{"version": "1.0"}',
        "README.md": b"# a card",
        "Manifest.json": b"{}",
        ".gitattributes": b"*.bin filter=lfs",
        "state_dict.bin": b"another library's",
        "model.safetensors": save(decoder_like(1, scale)),
        "spiece.model": b"\x0a\x0bsentencepiece",
    }
    return Repository("facebook/musicgen-tiny", REVISION, files)


@pytest.fixture
def hub(repository: Repository) -> Iterator[LoopbackHub]:
    """The Hub, serving `repository`."""
    with LoopbackHub(repository) as server:
        yield server


@pytest.fixture
def s3(s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Client]:
    """S3 with the artifact bucket, empty, holding the bundle's zip."""
    for name, value in {
        "AWS_ENDPOINT_URL": s3_endpoint,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)
    client = boto3.client("s3", region_name="us-east-1")
    client.create_bucket(Bucket=BUCKET)
    client.create_bucket(Bucket="assets")
    client.put_object(Bucket="assets", Key="bundle.zip", Body=bundle(BUNDLE))
    yield client
    for bucket in (BUCKET, "assets"):
        for item in client.list_objects_v2(Bucket=bucket).get("Contents", []):
            client.delete_object(Bucket=bucket, Key=item.get("Key", ""))
        for upload in client.list_multipart_uploads(Bucket=bucket).get("Uploads", []):
            client.abort_multipart_upload(Bucket=bucket, Key=upload.get("Key", ""), UploadId=upload.get("UploadId", ""))
        client.delete_bucket(Bucket=bucket)


@dataclass
class Time:
    """The used part of Lambda's context object."""

    seconds: float = 120.0
    invoked_function_arn: str = "arn:aws:lambda:us-east-1:123456789012:function:stage"

    def get_remaining_time_in_millis(self) -> int:
        """Return the time left."""
        return int(self.seconds * 1000)


@pytest.fixture
def sink() -> Iterator[ResponseSink]:
    """The ResponseURL of the custom resource."""
    with ResponseSink() as server:
        yield server


def wait_briefly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the waits between attempts, which are real here."""
    monkeypatch.setattr(stage_model.retry.RetryBudget.__init__, "__defaults__", (120.0, 0.005, 0.02, 900.0))


@pytest.fixture
def brief_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits between attempts that are short."""
    wait_briefly(monkeypatch)


Invoke = Callable[..., dict[str, Any]]


@pytest.fixture
def invoke(hub: LoopbackHub, s3: S3Client, sink: ResponseSink, monkeypatch: pytest.MonkeyPatch) -> Invoke:
    """Run the handler on one request and return the only response that CloudFormation receives."""
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    wait_briefly(monkeypatch)

    def run(kind: str = "Create", physical_id: str | None = None, seconds: float = 120.0, **properties: Any):
        event = {
            "RequestType": kind,
            "ResponseURL": sink.url,
            "StackId": "arn:aws:cloudformation:us-east-1:123456789012:stack/Stack/1",
            "RequestId": f"request-{len(sink.responses)}",
            "LogicalResourceId": "Model",
            "ResourceType": "Custom::StagedModel",
            "ResourceProperties": {
                "ServiceToken": "arn:aws:lambda:us-east-1:123456789012:function:stage",
                "ModelId": hub.repository.model_id,
                "Revision": hub.repository.revision,
                "DecoderDtype": "float32",
                "CodeBucket": "assets",
                "CodeKey": "bundle.zip",
                "ModelBucket": BUCKET,
                "KeyPrefix": PREFIX,
                **properties,
            },
        }
        if physical_id is not None:
            event["PhysicalResourceId"] = physical_id
        before = len(sink.responses)
        handler(event, Time(seconds))
        assert len(sink.responses) == before + 1
        return sink.responses[-1]

    return run


@pytest.fixture
def left_in_bucket(s3: S3Client) -> Callable[[], tuple[list[str], int]]:
    """The keys in the artifact bucket except run records, and the number of unfinished uploads."""

    def look() -> tuple[list[str], int]:
        keys = [item.get("Key", "") for item in s3.list_objects_v2(Bucket=BUCKET).get("Contents", [])]
        keys = [key for key in keys if not key.startswith(f"{PREFIX}runs/")]
        return keys, len(s3.list_multipart_uploads(Bucket=BUCKET).get("Uploads", []))

    return look


@pytest.fixture
def aws(hub: LoopbackHub, sink: ResponseSink, brief_waits: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lambda]:
    """A Lambda between the Hub and S3, with parts of 64 KiB and short waits."""
    with LoopbackS3() as s3:
        s3.strict, s3.demanding = False, True
        s3.objects["assets/bundle.zip"] = bundle(BUNDLE)
        runner = Lambda(hub, s3, sink)
        for name, value in {
            "HF_ENDPOINT": hub.url, "AWS_ENDPOINT_URL": s3.url, "AWS_ACCESS_KEY_ID": "test", "AWS_REGION": "us-east-1",
            "AWS_SECRET_ACCESS_KEY": "test", "AWS_EC2_METADATA_DISABLED": "true", "AWS_MAX_ATTEMPTS": "1",
        }.items():  # fmt: skip
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(
            stage_model.archive.staging_plan, "SizeLimits", lambda: SizeLimits(part_blocks=1, cast_part_blocks=1)
        )
        monkeypatch.setattr(stage_model.handler, "invoke_async", runner.invoke_async)
        monkeypatch.setattr(stage_model.handler, "SystemClock", lambda: runner.clock)
        yield runner
