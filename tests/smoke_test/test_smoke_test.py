"""The smoke test after a deployment: music passes; silence, failures and nothing at all do not."""

import io
import json
import math
import wave
from typing import Any

import pytest

from smoke_test import request
from smoke_test.audio import NotMusic, check
from smoke_test.request import Failed, make_music, stack_outputs

OUTPUTS = {"EndpointName": "musicgen-dev", "OutputBucketName": "outputs"}
RATE = 32000


def wav(seconds: float, *, loudness: float = 0.5, rate: int = RATE, width: int = 2) -> bytes:
    """A tone."""
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
    """Objects by location; one that is not there is missing, as S3 says it to who may list."""

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
    """An endpoint that remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []

    def invoke_endpoint_async(self, **parameters: Any) -> dict[str, str]:
        self.asked.append(parameters)
        return {"OutputLocation": "s3://outputs/out/1.out", "FailureLocation": "s3://outputs/failures/1-error.out"}


def answer(audio: str = "s3://outputs/audio/1.wav") -> bytes:
    """The endpoint's answer."""
    return json.dumps({"generated_outputs_s3": [audio], "sampling_rate": RATE}).encode()


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks again at once."""
    monkeypatch.setattr(request, "POLL_SECONDS", 0.001)


def test_music_of_the_length_that_was_asked_for_passes() -> None:
    runtime = FakeRuntime()
    s3 = FakeS3({"s3://outputs/out/1.out": answer(), "s3://outputs/audio/1.wav": wav(3)})

    assert make_music(runtime, s3, OUTPUTS, patience_seconds=5) == pytest.approx(3)
    assert json.loads(runtime.asked[0]["Body"])["generation_params"]["duration"] == 3


def test_failure_is_told_with_the_endpoint_s_own_words() -> None:
    s3 = FakeS3({"s3://outputs/failures/1-error.out": b'{"error": "out of memory"}'})

    with pytest.raises(Failed, match="out of memory"):
        make_music(FakeRuntime(), s3, OUTPUTS, patience_seconds=5)


def test_silence_of_the_endpoint_ends_after_the_patience() -> None:
    with pytest.raises(Failed, match="within 0 s"):
        make_music(FakeRuntime(), FakeS3({}), OUTPUTS, patience_seconds=0.01)


def test_answer_that_names_no_audio_fails() -> None:
    with pytest.raises(Failed, match="must exist"):
        make_music(FakeRuntime(), FakeS3({"s3://outputs/out/1.out": answer()}), OUTPUTS, patience_seconds=5)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"<html>", "must be a wav"),
        (wav(1), "must last 3 s, got 1.00"),
        (wav(3, loudness=0), "must not be silent"),
        (wav(3, rate=16000), "must have 16 bits at 32000 Hz, got 16 at 16000"),
    ],
)
def test_what_is_no_music_is_refused(content: bytes, said: str) -> None:
    with pytest.raises(NotMusic, match=said):
        check(content, seconds=3, sampling_rate=RATE)


def test_stack_of_another_project_is_refused() -> None:
    class CloudFormation:
        def describe_stacks(self, **_: str) -> dict[str, Any]:
            return {"Stacks": [{"Outputs": [{"OutputKey": "EndpointName", "OutputValue": "x"}]}]}

    with pytest.raises(Failed, match="lacks OutputBucketName"):
        stack_outputs(CloudFormation(), "Other")
