"""MusicGen and Clip against an AWS in virtual time."""

import asyncio
import io
import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from musicgen_client import Limits, MusicGen, Request, Update
from musicgen_client.errors import (
    InvalidRequest,
    RequestCancelled,
    RequestExpired,
    RequestFailed,
    RequestRefused,
    WaitTimeout,
)
from musicgen_client.transport import parse_failure
from musicgen_serving.engine.errors import MelodyUnsupportedError, RequestCancelledError
from tests.client.helpers.fake_aws import FakeAws, wav

DOCS = Path(__file__).parents[2] / "docs"


def test_prompt_becomes_a_clip(music: MusicGen, aws: FakeAws) -> None:
    updates: list[Update] = []
    clip = music.generate("calm piano", duration=0.5, seed=7, on_update=updates.append)
    assert (clip.seed, clip.rate, clip.duration, clip.prompt) == (7, 32_000, 0.5, "calm piano")
    assert clip.wav == aws.objects["outputs", clip.url.removeprefix("s3://outputs/")]
    assert clip.samples.shape == (1, 16_000) and clip.samples.dtype == np.float32
    assert 0.3 < float(np.abs(clip.samples).max()) < 0.4
    assert (clip.channels, clip.metadata["model"]) == (1, "facebook/musicgen-small")
    assert updates[0].stage == "planned"
    assert updates[-1].stage == "completed"
    assert "queued" in [update.stage for update in updates]


@pytest.mark.parametrize("stated", [True, False], ids=["bundle", "older bundle"])
def test_clip_of_a_stereo_model_has_two_channels(music: MusicGen, aws: FakeAws, stated: bool) -> None:
    aws.clip, aws.channels = (lambda seconds, seed: wav(seconds, seed, channels=2)), 2 if stated else None
    clip = music.generate("calm piano", duration=0.5)
    assert (clip.channels, clip.duration, clip.samples.shape) == (2, 0.5, (2, 16_000))
    assert np.abs(clip.samples).max(axis=1).tolist() == [pytest.approx(12_000 / 32_768, abs=1e-3), 0]
    assert ("channels" in clip.metadata) == stated
    ElementTree.fromstring(clip.waveform_svg())


def test_clip_is_saved_whole_under_its_own_name_and_shown_in_a_notebook(music: MusicGen, tmp_path: Path) -> None:
    clip = music.generate("<b>piano</b>", duration=0.1)
    path = clip.save(tmp_path)
    assert path.read_bytes() == clip.wav
    assert path.name == f"{clip.inference_id}_0_seed{clip.seed}.wav"
    assert [file.name for file in tmp_path.iterdir() if file.name.startswith(".")] == []
    ElementTree.fromstring(clip.waveform_svg())
    assert "&lt;b&gt;piano" in clip._repr_html_() and "<audio controls" in clip._repr_html_()  # pyright: ignore[reportPrivateUsage]


def test_every_stage_of_the_container_is_known_and_only_an_answer_ends_a_job(music: MusicGen, aws: FakeAws) -> None:
    documented = re.search(r'\| "stage" \|(.*)\|', (DOCS / "api.md").read_text(encoding="utf-8"))
    assert documented
    stages = re.findall(r"`(\w+)`", documented[1])
    assert stages == ["queued", "generating", "uploading", "done", "failed", "cancelled"]
    shown: dict[str, list[str]] = {}
    for stage in [*stages, "of a newer container"]:
        aws.seconds, updates = 20, list[Update]()
        get = music.clients.s3.get_object

        def get_object(get: Any = get, stage: str = stage, **call: Any) -> Any:
            found = get(**call)
            if call["Key"].endswith("progress.json"):
                found["Body"] = io.BytesIO(json.dumps({"stage": stage, "percent": 50}).encode())
            return found

        music.clients.s3.get_object = get_object
        music.generate("x", duration=0.1, progress=True, on_update=updates.append)
        music.clients.s3.get_object = get
        assert updates[-1].stage == "completed"
        shown[stage] = sorted({update.stage for update in updates} - {"planned", "queued", "completed"})
    assert shown == {
        "queued": [], "generating": ["generating"], "uploading": ["uploading"], "done": ["finishing"],
        "failed": ["finishing"], "cancelled": ["finishing"], "of a newer container": [],
    }  # fmt: skip


def test_melody_for_a_model_that_follows_none_is_a_refusal() -> None:
    sentence = str(MelodyUnsupportedError("facebook/musicgen-large"))
    assert parse_failure(json.dumps({"error": sentence, "status": 422}).encode()).status == "refused"


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b'{"error": "' + b"must " * 2000 + b'", "status": 422}', "refused"),
        (b'{"error": "x", "status": Infinity}', "failed"),
        (b"[" * 100_000, "failed"),
        (b"\xff", "failed"),
    ],
)
def test_any_failure_object_has_a_status_and_a_reason_of_at_most_2000_characters(content: bytes, status: str) -> None:
    result = parse_failure(content)
    assert result.status == status
    assert result.error and len(result.error) <= 2000


def test_refusal_that_quotes_a_cancellation_is_a_refusal() -> None:
    sentence = 'texts[0] must be a string of 1 to 1000 characters, got "the request was cancelled by the client"'
    assert parse_failure(json.dumps({"error": sentence, "status": 422}).encode()).status == "refused"
    assert (
        parse_failure(json.dumps({"error": str(RequestCancelledError()), "status": 409}).encode()).status == "cancelled"
    )


def test_variations_have_consecutive_seeds_in_requests_of_sixteen(music: MusicGen, aws: FakeAws) -> None:
    clips = music.variations("march", 18, duration=0.02, seed=2**32 - 2)
    assert [clip.seed for clip in clips] == [2**32 - 2, 2**32 - 1, *range(16)]
    assert len(aws.generated) == 2


def test_invalid_request_is_refused_before_anything_is_sent(music: MusicGen, aws: FakeAws) -> None:
    with pytest.raises(InvalidRequest, match=r"generation_params.duration must be a number from 0.02 to 300, got 301"):
        music.generate("x", duration=301)
    assert aws.calls["invoke"] == 0


@pytest.mark.parametrize(
    ("body", "error", "message"),
    [
        (b'{"error": "texts must be an array, got 3", "status": 422}', RequestRefused, "texts must be an array, got 3"),
        (
            b'{"error": "model failed: it must stop", "status": 500, "error_id": "a1"}',
            RequestFailed,
            "must stop (error_id a1)",
        ),
        (b"ClientError: the container died", RequestFailed, "the container died"),
        (
            b'{"error": "the request was cancelled by the client", "status": 409}',
            RequestCancelled,
            "cancelled by the client",
        ),
        (b"", RequestFailed, "no reason given"),
    ],
)
def test_failure_object_becomes_an_exception_with_its_message(
    music: MusicGen, aws: FakeAws, body: bytes, error: type[RequestFailed], message: str
) -> None:
    aws.answer = lambda _: (422, body)
    with pytest.raises(RequestFailed) as raised:
        music.generate("x")
    assert type(raised.value) is error
    assert message in str(raised.value)


def test_request_that_waits_too_long_is_expired(connect: Callable[..., MusicGen], aws: FakeAws) -> None:
    aws.instances = 0
    with pytest.raises(RequestExpired, match="RequestTTLSeconds"):
        connect(limits=Limits(ttl=60)).generate("x")


def test_request_without_any_answer_is_expired_in_the_end(connect: Callable[..., MusicGen], aws: FakeAws) -> None:
    aws.seconds = 1e9
    with pytest.raises(RequestExpired, match="neither answered nor refused"):
        connect(limits=Limits(ttl=60, time_limit=10, margin=5)).generate("x")


def test_timeout_leaves_the_job_to_fetch(music: MusicGen, connect: Callable[..., MusicGen], aws: FakeAws) -> None:
    aws.instances = 0
    with pytest.raises(WaitTimeout, match="within 30 s"):
        music.generate("x", duration=0.1, timeout=30)
    aws.instances = 1
    (clip,) = connect().fetch("last")
    assert aws.generated == {clip.inference_id: 1}
    assert connect().fetch(clip.inference_id[:8])[0].wav == clip.wav


def test_cancelled_job_ends_with_the_clients_word(music: MusicGen, aws: FakeAws) -> None:
    aws.seconds = 30
    with pytest.raises(WaitTimeout):
        music.generate("x", timeout=2)
    music.cancel("last")
    with pytest.raises(RequestCancelled):
        music.fetch("last")
    assert not aws.generated


def test_progress_is_read_on_request(music: MusicGen) -> None:
    updates: list[Update] = []
    music.generate("x", duration=0.1, progress=True, on_update=updates.append)
    assert ("generating", 42.0) in [(update.stage, update.percent) for update in updates]


def test_older_endpoint_that_refuses_progress_is_asked_without_it(music: MusicGen, aws: FakeAws) -> None:
    refusal = b'{"error": "body must have no field but texts, generation_params, got \\"progress\\"", "status": 422}'
    aws.answer = lambda request: (422, refusal) if b"progress" in request.body else None
    clip = music.generate("x", duration=0.1, progress=True)
    assert aws.generated == {clip.inference_id: 1}


@pytest.mark.parametrize("raw", [False, True])
def test_queue_reports_results(connect: Callable[..., MusicGen], aws: FakeAws, raw: bool) -> None:
    receive = aws._receive  # pyright: ignore[reportPrivateUsage]

    def wrapped(**call: object) -> dict[str, object]:
        answer = receive(**call)  # pyright: ignore[reportArgumentType]
        bodies = [message["Body"] for message in answer["Messages"]]
        envelopes = [body if raw else json.dumps({"Message": body}) for body in bodies]
        test = {"Body": json.dumps({"Message": '{"eventName": "TestNotification"}'}), "ReceiptHandle": "t"}
        return {"Messages": [{"Body": body, "ReceiptHandle": "r"} for body in envelopes] + [test]}

    wrapped.__name__ = "_receive"
    aws._receive = wrapped  # pyright: ignore[reportPrivateUsage]
    music = connect(queue_url="https://queue")
    clip = music.generate("x", duration=0.1)
    assert clip.duration == 0.1
    assert aws.calls["receive"] >= 1


def test_older_botocore_sends_through_the_input_bucket(connect: Callable[..., MusicGen], aws: FakeAws) -> None:
    aws.members = ()
    clip = connect().generate("x", duration=0.1)
    assert ("inputs", f"in/{clip.inference_id}.json") in aws.objects


def test_body_beyond_128000_bytes_goes_through_the_input_bucket(music: MusicGen, aws: FakeAws) -> None:
    texts = tuple("\U0001f3b5" * 999 for _ in range(16))  # each escaped to 12 bytes
    clips = music.generate_all(Request(texts=texts, duration=0.02))
    assert len(clips) == 16
    assert ("inputs", f"in/{clips[0].inference_id}.json") in aws.objects
    small = music.generate("x", duration=0.02)
    assert ("inputs", f"in/{small.inference_id}.json") not in aws.objects


def test_named_batch_continues_where_it_stopped(connect: Callable[..., MusicGen], aws: FakeAws) -> None:
    prompts = [f"tune {index}" for index in range(10)]
    for number, _ in enumerate(connect().generate_many(prompts, name="b", duration=0.02, window=3)):
        if number == 3:
            break
    rest = list(connect().generate_many(prompts, name="b", duration=0.02, window=3))
    assert 6 <= len(rest) <= 7  # the one at which the loop ended may be delivered again
    assert len(aws.generated) == 10 and set(aws.generated.values()) == {1}


def test_ten_thousand_prompts_are_read_as_there_is_room(connect: Callable[..., MusicGen], aws: FakeAws) -> None:
    read = 0

    def prompts() -> object:
        nonlocal read
        for index in range(10_000):
            read += 1
            yield f"tune {index}"

    outcomes = connect().generate_many(prompts(), duration=0.02, window=8)  # pyright: ignore[reportArgumentType]
    for done, _ in zip(range(1, 51), outcomes, strict=False):
        assert read <= done + 16
    del outcomes


def test_failed_request_does_not_stop_the_others(music: MusicGen, aws: FakeAws) -> None:
    aws.answer = lambda request: (
        (422, b'{"error": "x must be y, got z", "status": 422}') if b"bad" in request.body else None
    )
    outcomes = list(music.generate_many(["good", "bad", "fine"], duration=0.02))
    assert sorted(str(outcome.error) for outcome in outcomes) == ["None", "None", "x must be y, got z"]


def test_asyncio_generates_concurrently(music: MusicGen) -> None:
    async def run() -> None:
        one, two = await asyncio.gather(music.agenerate("one", duration=0.02), music.agenerate("two", duration=0.02))
        assert {one.prompt, two.prompt} == {"one", "two"}
        many = [outcome async for outcome in music.agenerate_many(["a", "b", "c"], duration=0.02)]
        assert sorted(outcome.request.texts[0] for outcome in many) == ["a", "b", "c"]

    asyncio.run(run())


def test_cancelled_task_ends_its_thread_and_leaves_the_job(music: MusicGen, aws: FakeAws) -> None:
    async def run() -> None:
        aws.instances = 0
        slow = MusicGen("x1", clients=aws.clients, history=music.history, clock=aws.clock, sleep=time.sleep)
        task = asyncio.create_task(slow.agenerate("x", duration=0.02))
        await asyncio.sleep(0.2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(run())  # does not return before its threads
    aws.instances = 1
    assert music.fetch("last")[0].duration == 0.02
