"""Test that the upload of a long clip begins with its first part, and that S3 has the whole clip or nothing."""

import threading
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import boto3
import numpy as np
import pytest

from musicgen_serving.audio_output import AudioOutput
from musicgen_serving.audio_upload import PART_BYTES, STREAMS_TOGETHER, AudioStore, UploadError
from musicgen_serving.engine.codec_worker import AudioPart
from musicgen_serving.engine.sampling_params import ClipSpec, SamplingParams
from musicgen_serving.http.negotiation import WAV, RequestContext, parse_accept
from musicgen_serving.http.response import Delivery
from musicgen_serving.http.tracking import Progress
from musicgen_serving.loop import Loop

BUCKET = "delivery"  # of this file alone: moto's servers in one process share their buckets
RATE = 32_000
PART = PART_BYTES // 2  # samples of one channel
CLIP = np.random.default_rng(0).normal(0, 0.5, (1, 2 * PART + 12_345)).astype(np.float32)
SHORT = CLIP[:, : PART - 22]  # with its header as long as a part: nothing would be gained


@pytest.fixture
def client(s3_endpoint: str) -> Iterator[Any]:
    client: Any = boto3.client(  # pyright: ignore[reportUnknownMemberType]
        "s3", region_name="us-east-1", endpoint_url=s3_endpoint, aws_access_key_id="test", aws_secret_access_key="test"
    )
    client.create_bucket(Bucket=BUCKET)
    yield client
    for found in client.list_objects_v2(Bucket=BUCKET).get("Contents", []):
        client.delete_object(Bucket=BUCKET, Key=found["Key"])
    client.delete_bucket(Bucket=BUCKET)
    client.close()


class FakeModel:
    """What a delivery asks of a model."""

    sampling_rate, size, model_id, revision, license = RATE, "small", "facebook/musicgen-small", "0" * 40, "MIT"

    def __init__(self, client: Any) -> None:
        self.generator = self.checkpoint = self
        self.store = AudioStore(client, (BUCKET,))


def make_delivery(
    client: Any, output: AudioOutput | None = None, *, clips: int = 1, accept: str = "", loop: Loop | None = None
) -> Delivery:
    model: Any = FakeModel(client)
    specs = [ClipSpec("a", index, SamplingParams()) for index in range(clips)]
    context = RequestContext(parse_accept(accept), "id-1")
    return Delivery(model, context, BUCKET, specs, output or AudioOutput(), Progress("id-1", BUCKET, clips), loop)


def parts(clip: Any = CLIP, index: int = 0, count: int = 5) -> list[AudioPart]:
    """Return a clip in parts of any length."""
    total: int = clip.shape[1]
    ends = [total * part // count for part in range(count + 1)]
    return [AudioPart(index, clip[:, start:end], start, total) for start, end in pairwise(ends)]


def body(client: Any, index: int = 0, suffix: str = "wav") -> bytes:
    return client.get_object(Bucket=BUCKET, Key=f"audio/id-1/musicgen_small_id-1_{index}.{suffix}")["Body"].read()


def unfinished(client: Any) -> list[Any]:
    return client.list_multipart_uploads(Bucket=BUCKET).get("Uploads", [])


def parts_in_s3(client: Any) -> int:
    return sum(
        len(client.list_parts(Bucket=BUCKET, Key=one["Key"], UploadId=one["UploadId"]).get("Parts", []))
        for one in unfinished(client)
    )


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


OUTPUTS = {
    "as generated": AudioOutput(),
    "clipped": AudioOutput(normalization="clip"),
    "faded": AudioOutput(fade_in=0.5, fade_out=30.0),
    "fades that overlap": AudioOutput(fade_in=100.0, fade_out=150.0, normalization="clip"),
}


@pytest.mark.parametrize("output", OUTPUTS.values(), ids=OUTPUTS)
def test_first_bytes_are_in_s3_before_the_last_samples_exist(client: Any, output: AudioOutput) -> None:
    delivery, (*first, last) = make_delivery(client, output), parts()
    for part in first:
        delivery.add(part)
    wait_until(lambda: parts_in_s3(client) == 1)
    delivery.add(last)
    assert (
        delivery.finish(lambda urls, _: str(urls).encode()) == b"['s3://delivery/audio/id-1/musicgen_small_id-1_0.wav']"
    )
    assert body(client) == output.encode(output.render(CLIP, RATE), RATE)
    assert unfinished(client) == [] and delivery.durations == [CLIP.shape[1] / RATE]
    head = client.head_object(Bucket=BUCKET, Key="audio/id-1/musicgen_small_id-1_0.wav")
    assert head["ContentType"] == "audio/wav" and head["ETag"].endswith('-3"')


WHOLE: dict[str, tuple[AudioOutput, str, Loop | None, Any]] = {
    "peak": (AudioOutput(normalization="peak"), "", None, CLIP),
    "rms": (AudioOutput(normalization="rms"), "", None, CLIP),
    "loudness": (AudioOutput(normalization="loudness"), "", None, CLIP),
    "tail": (AudioOutput(trim_tail=True), "", None, CLIP),
    "tags": (AudioOutput(tags=True), "", None, CLIP),
    "flac": (AudioOutput(format="flac"), "", None, CLIP),
    "24 bits": (AudioOutput(format="wav_24"), "", None, CLIP),
    "loop": (AudioOutput(), "", Loop(bpm=100, bars=4), CLIP),
    "body": (AudioOutput(), WAV, None, CLIP),
    "short": (AudioOutput(), "", None, SHORT),
}


@pytest.mark.parametrize(("output", "accept", "loop", "clip"), WHOLE.values(), ids=WHOLE)
def test_what_needs_the_whole_clip_is_uploaded_at_its_end(
    client: Any, output: AudioOutput, accept: str, loop: Loop | None, clip: Any
) -> None:
    delivery = make_delivery(client, output, accept=accept, loop=loop)
    for part in parts(clip):
        assert unfinished(client) == [] == client.list_objects_v2(Bucket=BUCKET).get("Contents", [])
        delivery.add(part)
    answer = delivery.finish(lambda urls, _: b"{}")
    heard = output.render(loop.close(clip, RATE) if loop else clip, RATE)
    found = answer if accept == WAV else body(client, suffix=output.file.suffix)
    if not output.tags:
        assert found == output.encode(heard, RATE)
    assert len(found) > 44 and delivery.durations == [heard.shape[1] / RATE]


def test_clips_that_grow_together_are_all_uploaded(client: Any) -> None:
    """One more than may grow at once: it waits for its end, not for theirs."""
    count = STREAMS_TOGETHER + 1
    delivery = make_delivery(client, clips=count)
    clips = [CLIP + np.float32(index / 100) for index in range(count)]
    for of_all in zip(*(parts(clip, index) for index, clip in enumerate(clips)), strict=True):
        for part in of_all:
            delivery.add(part)
    delivery.finish(lambda urls, _: b"{}")
    assert [body(client, index) for index in range(count)] == [AudioOutput().encode(clip, RATE) for clip in clips]


def test_a_request_that_fails_leaves_no_object_and_no_upload(client: Any) -> None:
    delivery = make_delivery(client)
    for part in parts()[:-1]:
        delivery.add(part)
    wait_until(lambda: parts_in_s3(client) == 1)
    delivery.cancel(ValueError("abandoned"))
    wait_until(lambda: unfinished(client) == [])
    assert client.list_objects_v2(Bucket=BUCKET)["KeyCount"] == 0


@pytest.mark.parametrize("call", ["create_multipart_upload", "upload_part", "complete_multipart_upload"])
def test_a_refused_part_fails_the_request_and_names_the_object(client: Any, call: str) -> None:
    """At the latest when the request waits for its uploads."""
    operation = call.title().replace("_", "")

    def misdirect(params: dict[str, str], **_: Any) -> None:
        params["Bucket"] = "no-such"

    client.meta.events.register(f"before-parameter-build.s3.{operation}", misdirect)
    delivery = make_delivery(client)

    def deliver() -> None:
        for part in parts(count=200):
            delivery.add(part)
        delivery.finish(lambda urls, _: b"{}")

    with pytest.raises(
        UploadError, match=r"could not write s3://delivery/audio/id-1/musicgen_small_id-1_0\.wav: NoSuch"
    ):
        deliver()
    assert client.list_objects_v2(Bucket=BUCKET)["KeyCount"] == 0
    wait_until(lambda: unfinished(client) == [])


def test_a_slow_s3_makes_the_request_wait_instead_of_holding_the_clip(client: Any) -> None:
    proceed, held = threading.Event(), list[int]()

    def hold(**_: Any) -> None:
        assert proceed.wait(30)

    client.meta.events.register("before-call.s3.UploadPart", hold)
    delivery, clip = make_delivery(client), np.zeros((1, 5 * PART), np.float32)

    def deliver() -> None:
        for part in parts(clip, count=50):
            delivery.add(part)
            held.append(part.start)

    thread = threading.Thread(target=deliver)
    thread.start()
    wait_until(lambda: bool(held) and held[-1] > 2.7 * PART)
    thread.join(0.5)
    assert thread.is_alive() and held[-1] < 3.2 * PART  # one part is being sent, and twice as much waits
    proceed.set()
    thread.join(30)
    delivery.finish(lambda urls, _: b"{}")
    assert body(client) == AudioOutput().encode(clip, RATE)
