"""The smoke test of a deployed stack, with a fake endpoint and a fake S3."""

import io
import json
import math
import wave
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, NoCredentialsError

from smoke_test import endpoint
from smoke_test.__main__ import main
from smoke_test.endpoint import CouldNotAsk, SmokeTestError, check_wav, generate_clip, stack_outputs

OUTPUTS = {"EndpointName": "musicgen-dev", "OutputBucketName": "outputs"}
RATE = 32000


def wav(seconds: float, *, loudness: float = 0.5, rate: int = RATE, width: int = 2) -> bytes:
    """Return a tone as a WAV file."""
    frames = bytearray()
    for index in range(round(seconds * rate)):
        frames += int(32767 * loudness * math.sin(index / 20)).to_bytes(2, "little", signed=True)[:width]
    content = io.BytesIO()
    with wave.open(content, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(width)
        file.setframerate(rate)
        file.writeframes(bytes(frames))
    return content.getvalue()


class FakeS3:
    """Objects by URL; a missing one raises NoSuchKey, as S3 does for callers with ListBucket."""

    class exceptions:  # noqa: N801  (boto3's name)
        class NoSuchKey(Exception):
            """No such object."""

    def __init__(self, objects: dict[str, bytes]) -> None:
        self._objects = objects

    def get_object(self, *, Bucket: str, Key: str) -> dict[str, Any]:  # noqa: N803  (boto3's names)
        content = self._objects.get(f"s3://{Bucket}/{Key}")
        if content is None:
            raise self.exceptions.NoSuchKey
        return {"Body": io.BytesIO(content)}


class FakeRuntime:
    """An endpoint that records its requests."""

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []

    def invoke_endpoint_async(self, **parameters: Any) -> dict[str, str]:
        self.requests.append(parameters)
        return {"OutputLocation": "s3://outputs/out/1.out", "FailureLocation": "s3://outputs/failures/1-error.out"}


def response(audio: str = "s3://outputs/audio/1.wav") -> bytes:
    """Return the endpoint's response."""
    return json.dumps({"generated_outputs_s3": [audio], "sampling_rate": RATE}).encode()


@pytest.fixture(autouse=True)
def no_delay_between_polls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint, "POLL_SECONDS", 0.001)


def test_passes_when_the_clip_has_the_requested_length() -> None:
    runtime = FakeRuntime()
    s3 = FakeS3({"s3://outputs/out/1.out": response(), "s3://outputs/audio/1.wav": wav(3)})

    assert generate_clip(runtime, s3, OUTPUTS, timeout_seconds=5) == pytest.approx(3)
    assert json.loads(runtime.requests[0]["Body"])["generation_params"]["duration"] == 3


def test_reports_the_endpoints_error() -> None:
    s3 = FakeS3({"s3://outputs/failures/1-error.out": b'{"error": "out of memory"}'})

    with pytest.raises(SmokeTestError, match="out of memory"):
        generate_clip(FakeRuntime(), s3, OUTPUTS, timeout_seconds=5)


def test_fails_without_a_response_within_the_timeout() -> None:
    with pytest.raises(SmokeTestError, match="no response within 0 s"):
        generate_clip(FakeRuntime(), FakeS3({}), OUTPUTS, timeout_seconds=0.01)


def test_fails_when_the_audio_does_not_exist() -> None:
    with pytest.raises(SmokeTestError, match="no such object"):
        generate_clip(FakeRuntime(), FakeS3({"s3://outputs/out/1.out": response()}), OUTPUTS, timeout_seconds=5)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"<html>", "is not a WAV file"),
        (wav(1), "must last 3 s, got 1.00"),
        (wav(3, loudness=0), "is silent"),
        (wav(3, rate=16000), "must have 16 bits at 32000 Hz, got 16 bits at 16000 Hz"),
    ],
)
def test_rejects_bad_audio(content: bytes, message: str) -> None:
    with pytest.raises(SmokeTestError, match=message):
        check_wav(content, seconds=3, sampling_rate=RATE)


def test_rejects_a_stack_of_another_project() -> None:
    class CloudFormation:
        def describe_stacks(self, **_: str) -> dict[str, Any]:
            return {"Stacks": [{"Outputs": [{"OutputKey": "EndpointName", "OutputValue": "x"}]}]}

    with pytest.raises(CouldNotAsk, match="no output OutputBucketName"):
        stack_outputs(CloudFormation(), "Other")


class FakeSession:
    """boto3's session: clients that raise what the test says."""

    def __init__(self, **failures: Exception) -> None:
        self._failures = failures

    def client(self, service: str) -> Any:
        failures, outputs = self._failures, [{"OutputKey": key, "OutputValue": value} for key, value in OUTPUTS.items()]

        class Client(FakeS3):
            def describe_stacks(self, **_: str) -> dict[str, Any]:
                if "describe_stacks" in failures:
                    raise failures["describe_stacks"]
                return {"Stacks": [{"Outputs": outputs}]}

            def invoke_endpoint_async(self, **_: str) -> dict[str, str]:
                if "invoke" in failures:
                    raise failures["invoke"]
                return FakeRuntime().invoke_endpoint_async()

            def get_object(self, **parameters: Any) -> dict[str, Any]:
                if "get_object" in failures:
                    raise failures["get_object"]
                return super().get_object(**parameters)

        return Client({"s3://outputs/out/1.out": response(), "s3://outputs/audio/1.wav": wav(3)})


def refused(operation: str, code: str, message: str = "no") -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": message}}, operation)


@pytest.mark.parametrize(
    ("failures", "code", "line"),
    [
        ({}, 0, "MusicGen-dev generated 3.00 s of music"),
        ({"describe_stacks": NoCredentialsError()}, 2, "Unable to locate credentials"),
        ({"describe_stacks": refused("DescribeStacks", "AccessDenied")}, 2, "DescribeStacks: AccessDenied: no"),
        ({"describe_stacks": refused("DescribeStacks", "ValidationError", "it does not exist")}, 2, "does not exist"),
        ({"describe_stacks": EndpointConnectionError(endpoint_url="https://x")}, 2, "https://x"),
        ({"invoke": refused("InvokeEndpointAsync", "AccessDeniedException")}, 2, "AccessDeniedException"),
        ({"invoke": refused("InvokeEndpointAsync", "ThrottlingException")}, 2, "ThrottlingException"),
        ({"invoke": refused("InvokeEndpointAsync", "ValidationError", "Endpoint x not found.")}, 1, "x not found."),
        ({"get_object": refused("GetObject", "AccessDenied")}, 2, "GetObject: AccessDenied"),
    ],
)  # fmt: skip
def test_exit_status_tells_no_music_from_no_question(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    failures: dict[str, Exception],
    code: int,
    line: str,
) -> None:
    def session(region_name: str | None) -> FakeSession:
        return FakeSession(**failures)

    monkeypatch.setattr("boto3.Session", session)
    assert main(["--stack", "MusicGen-dev"]) == code
    shown = capsys.readouterr()
    assert line in shown.out + shown.err
    assert "Traceback" not in shown.err


def test_an_unknown_profile_is_no_question(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    assert main(["--stack", "MusicGen-dev", "--region", "us-east-1"]) == 2
    assert "nobody" in capsys.readouterr().err
