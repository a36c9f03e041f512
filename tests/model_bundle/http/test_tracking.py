"""Progress in S3 and cancellation from there: the tracker with a fake S3, and the real server and engine."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from botocore.exceptions import ClientError, ConnectTimeoutError, ReadTimeoutError

import inference
from musicgen_serving.audio_download import AudioSource
from musicgen_serving.audio_input import AudioInput
from musicgen_serving.audio_upload import AudioStore
from musicgen_serving.engine.errors import NonFiniteError, RequestCancelledError
from musicgen_serving.engine.request import Request
from musicgen_serving.engine.sampling_params import ClipSpec, SamplingParams
from musicgen_serving.http import tracking
from musicgen_serving.http.errors import CancelledRequestError, translate_engine_error
from musicgen_serving.http.invocation import Invocations
from musicgen_serving.http.server import ContainerServer
from musicgen_serving.http.tracking import Progress, RequestTracker
from musicgen_serving.model_loading import TRACKING_CONFIG, Model, read_checkpoint
from soak.container_client import ContainerClient

PROGRESS = "audio/{}/progress.json"


def client_error(status: int, operation: str) -> ClientError:
    answer: Any = {"Error": {"Code": str(status)}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(answer, operation)


class ObservedS3:
    """An S3 client that keeps every state that was written, and lets a test block or fail each kind of call."""

    def __init__(self) -> None:
        self.writes: list[tuple[float, str, dict[str, Any]]] = []  # when, the key, the state
        self.looks: list[tuple[float, str, str]] = []  # when, the bucket, the key
        self.cancelled: set[tuple[str, str]] = set()
        self.write_failure: Exception | None = None
        self.look_failure: Exception | None = None
        self.may_write, self.may_look = threading.Event(), threading.Event()
        self.may_write.set()
        self.may_look.set()
        self.threads: set[str] = set()

    def put_object(self, *, Bucket: str, Key: str, Body: bytes, ContentType: str) -> None:  # noqa: N803
        if not Key.endswith("/progress.json"):
            return
        assert (Bucket, ContentType) == ("out", "application/json")
        self.threads.add(threading.current_thread().name)
        self.writes.append((time.monotonic(), Key, json.loads(Body)))
        assert self.may_write.wait(30)
        if self.write_failure:
            raise self.write_failure

    def upload_fileobj(self, *_: Any, **__: Any) -> None:
        raise AssertionError("no body grows")

    def get_object(self, *, Bucket: str, Key: str) -> None:  # noqa: N803
        raise AssertionError(f"no request names s3://{Bucket}/{Key}")

    def head_object(self, *, Bucket: str, Key: str) -> None:  # noqa: N803
        self.threads.add(threading.current_thread().name)
        self.looks.append((time.monotonic(), Bucket, Key))
        assert self.may_look.wait(30)
        if self.look_failure:
            raise self.look_failure
        if (Bucket, Key) not in self.cancelled:
            raise client_error(403, "HeadObject")

    def stages(self, inference_id: str) -> list[str]:
        return [state["stage"] for _, key, state in list(self.writes) if key == PROGRESS.format(inference_id)]


@pytest.fixture
def s3() -> ObservedS3:
    return ObservedS3()


@pytest.fixture
def tracker(s3: ObservedS3, memory_log: Any) -> Iterator[RequestTracker]:
    tracker = RequestTracker(s3, "out", memory_log.log)
    yield tracker
    s3.may_write.set()
    s3.may_look.set()
    tracker.stop()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Write and look a hundred times as often, for tests of what is written and not of when."""
    monkeypatch.setattr(tracking, "WRITE_SECONDS", 0.02)
    monkeypatch.setattr(tracking, "LOOK_SECONDS", 0.01)


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def engine_request(clips: int = 2) -> Request:
    """A request of clips of ten steps each, that is in no queue."""
    return Request([ClipSpec("a", 0, SamplingParams(max_new_tokens=10))] * clips, [[[1]]] * clips)


def last(s3: ObservedS3) -> dict[str, Any]:
    return {name: value for name, value in s3.writes[-1][2].items() if name != "updated"}


def state(stage: str, percent: int, clips_done: int = 0, clips: int = 2) -> dict[str, Any]:
    return {"stage": stage, "percent": percent, "clips_done": clips_done, "clips": clips}


def test_writes_each_stage_with_percent_clips_and_time(quick: None, s3: ObservedS3, tracker: RequestTracker) -> None:
    progress, request = Progress("id-1", "out", 2), engine_request()
    tracker.follow(progress)
    wait_until(lambda: s3.writes and last(s3) == state("queued", 0))
    progress.observe(request)
    request.mark_started()
    request.steps, progress.clips_done = 7, 1
    wait_until(lambda: last(s3) == state("generating", 35, 1))
    request.steps = 20
    wait_until(lambda: last(s3) == state("generating", 99, 1))  # clips are still to be decoded
    progress.upload()
    wait_until(lambda: last(s3) == state("uploading", 100, 1))
    progress.end()
    wait_until(lambda: last(s3) == state("done", 100, 1))
    assert {key for _, key, _ in s3.writes} == {"audio/id-1/progress.json"}
    written = datetime.strptime(s3.writes[-1][2]["updated"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    assert timedelta() <= datetime.now(UTC) - written < timedelta(seconds=60)


@pytest.mark.parametrize(
    ("error", "stage"), [(NonFiniteError("samples"), "failed"), (RequestCancelledError(), "cancelled")]
)
def test_the_last_state_says_how_a_request_ended_and_how_far_it_was(
    error: Exception, stage: str, quick: None, s3: ObservedS3, tracker: RequestTracker
) -> None:
    progress, request = Progress("id-1", "out", 2), engine_request()
    tracker.follow(progress)
    progress.observe(request)
    request.mark_started()
    request.steps = 10
    progress.end(error)
    wait_until(lambda: s3.writes and last(s3) == state(stage, 50))
    count = len(s3.writes)
    time.sleep(0.1)
    assert len(s3.writes) == count  # it is the last one


def test_an_unchanged_state_is_not_written_again(quick: None, s3: ObservedS3, tracker: RequestTracker) -> None:
    tracker.follow(Progress("id-1", "out", 2))
    wait_until(lambda: len(s3.looks) > 10)
    assert s3.stages("id-1") == ["queued"]


def test_a_request_is_written_every_2_s_at_most_and_looked_for_every_second_at_most(
    s3: ObservedS3, tracker: RequestTracker
) -> None:
    """The states change all the time; those in between are dropped. The end waits for its turn as well."""
    progress, request = Progress("id-1", "out", 2), engine_request()
    tracker.follow(progress)
    progress.observe(request)
    request.mark_started()
    started = time.monotonic()
    while len(s3.writes) < 3:
        request.steps = int(time.monotonic() - started)
        time.sleep(0.01)
    progress.end()
    wait_until(lambda: s3.stages("id-1")[-1] == "done")
    for times, seconds in (([when for when, *_ in s3.writes], 2.0), ([when for when, *_ in s3.looks], 1.0)):
        assert len(times) >= 3
        assert all(later - earlier >= seconds for earlier, later in pairwise(times))


def test_a_cancellation_that_is_there_before_a_request_starts_refuses_it(
    s3: ObservedS3, tracker: RequestTracker
) -> None:
    s3.cancelled.add(("out", "cancel/id-1"))
    with pytest.raises(RequestCancelledError, match="cancelled by the client") as caught:
        tracker.follow(Progress("id-1", "out", 1))
    refusal = translate_engine_error(caught.value)
    assert isinstance(refusal, CancelledRequestError) and refusal.status == 409
    tracker.follow(Progress("id-2", "out", 1))  # of another request it is none


def test_a_cancellation_fails_the_engines_request_whenever_it_comes(
    quick: None, s3: ObservedS3, tracker: RequestTracker
) -> None:
    before, after = Progress("before", "out", 1), Progress("after", "out", 1)
    tracker.follow(before)
    tracker.follow(after)
    s3.cancelled.update({("out", "cancel/before"), ("out", "cancel/after")})
    running = engine_request()
    after.observe(running)
    wait_until(lambda: before.cancelled and after.cancelled)
    late = engine_request()
    before.observe(late)
    for request in (running, late):
        wait_until(lambda request=request: request.done)  # before the wait below, which has no limit
        with pytest.raises(RequestCancelledError):
            request.wait()


def test_only_the_output_bucket_is_looked_at(quick: None, s3: ObservedS3, tracker: RequestTracker) -> None:
    s3.cancelled.add(("elsewhere", "cancel/id-1"))
    progress = Progress("id-1", "elsewhere", 1)
    progress.written = progress.state()
    tracker.follow(progress)
    wait_until(lambda: len(s3.looks) > 3)
    assert {(bucket, key) for _, bucket, key in s3.looks} == {("out", "cancel/id-1")} and not progress.cancelled


def test_a_cancellation_after_the_last_clip_is_too_late(quick: None, s3: ObservedS3, tracker: RequestTracker) -> None:
    progress = Progress("id-1", "out", 1)
    tracker.follow(progress)
    progress.upload()
    wait_until(lambda: s3.writes and last(s3)["stage"] == "uploading")
    looks = len(s3.looks)
    s3.cancelled.add(("out", "cancel/id-1"))
    time.sleep(0.1)
    assert len(s3.looks) <= looks + 1 and not progress.cancelled
    progress.end()
    wait_until(lambda: last(s3)["stage"] == "done")


def test_a_cancellation_that_is_found_as_the_clips_are_done_is_too_late() -> None:
    progress = Progress("id-1", "out", 1)
    progress.upload()  # while S3 answered
    progress.cancel()
    assert not progress.cancelled
    assert progress.state()["stage"] == "uploading"


def test_nobody_waits_for_a_slow_s3_beyond_the_first_look(
    s3: ObservedS3, tracker: RequestTracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracking, "FIRST_CHECK_SECONDS", 0.05)
    s3.may_write.clear()
    s3.may_look.clear()
    for number in range(20):  # each ends before S3 has answered once
        progress = Progress(f"id-{number}", "out", 1)
        tracker.follow(progress)
        progress.observe(engine_request())
        progress.upload()
        progress.end()
    assert len(s3.writes) == len(s3.looks) == 1  # both threads still wait for the first answer
    s3.may_write.set()
    s3.may_look.set()
    wait_until(lambda: all(s3.stages(f"id-{number}")[-1:] == ["done"] for number in range(1, 20)))
    assert all(len(s3.stages(f"id-{number}")) == 1 for number in range(1, 20))  # what was between is dropped


def test_requests_that_ended_unwritten_are_dropped_beyond_a_limit_but_no_running_one(
    s3: ObservedS3, tracker: RequestTracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracking, "FIRST_CHECK_SECONDS", 0.0)
    monkeypatch.setattr(tracking, "MAX_UNWRITTEN", 10)
    s3.may_write.clear()
    running = [Progress(f"running-{number}", "out", 1) for number in range(12)]
    for progress in running:
        tracker.follow(progress)
    wait_until(lambda: s3.writes)
    for number in range(200):
        progress = Progress(f"ended-{number}", "out", 1)
        tracker.follow(progress)
        progress.end()
    assert len(tracker._writer) <= len(running) + 1  # pyright: ignore[reportPrivateUsage]
    s3.may_write.set()
    wait_until(lambda: all(s3.stages(progress.inference_id) for progress in running))


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        (client_error(403, "PutObject"), "403"),
        (client_error(503, "PutObject"), "503"),
        (ReadTimeoutError(endpoint_url="https://s3"), "ReadTimeoutError"),
    ],
)
def test_failing_writes_are_logged_once_and_go_on(
    failure: Exception, reason: str, quick: None, s3: ObservedS3, tracker: RequestTracker, memory_log: Any
) -> None:
    s3.write_failure = failure
    for name in ("a", "b"):
        progress = Progress(name, "out", 1)
        tracker.follow(progress)
        wait_until(lambda name=name: "queued" in s3.stages(name))
        progress.end()
        wait_until(lambda name=name: "done" in s3.stages(name))
    wait_until(lambda: len(tracker._writer) == 0)  # pyright: ignore[reportPrivateUsage]
    (line,) = memory_log.events("progress_not_written")
    assert (line["bucket"], line["error"], line["inference_id"]) == ("out", reason, "a")


@pytest.mark.parametrize(
    ("failure", "reason"),
    [(client_error(503, "HeadObject"), "status 503"), (ConnectTimeoutError(endpoint_url="x"), "ConnectTimeoutError")],
)
def test_failing_looks_are_logged_once_and_the_next_that_succeeds_cancels(
    failure: Exception, reason: str, quick: None, s3: ObservedS3, tracker: RequestTracker, memory_log: Any
) -> None:
    s3.look_failure = failure
    progress = Progress("id-1", "out", 1)
    tracker.follow(progress)
    wait_until(lambda: len(s3.looks) > 3)
    assert not progress.cancelled
    (line,) = memory_log.events("cancellation_unknown")
    assert (line["bucket"], line["error"], line["inference_id"]) == ("out", reason, "id-1")
    s3.look_failure = None
    s3.cancelled.add(("out", "cancel/id-1"))
    wait_until(lambda: progress.cancelled)


@pytest.mark.parametrize("status", [403, 404])
def test_an_absent_cancellation_is_not_logged(
    status: int, quick: None, s3: ObservedS3, tracker: RequestTracker, memory_log: Any
) -> None:
    s3.look_failure = client_error(status, "HeadObject")
    tracker.follow(Progress("id-1", "out", 1))
    wait_until(lambda: len(s3.looks) > 3)
    assert memory_log.lines() == []


def test_a_bug_costs_one_request_its_progress_and_no_other(
    quick: None, s3: ObservedS3, tracker: RequestTracker, memory_log: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = Progress("broken", "out", 1)
    monkeypatch.setattr(broken, "state", Mock(side_effect=RuntimeError("a bug")))
    tracker.follow(broken)
    tracker.follow(Progress("sound", "out", 1))
    wait_until(lambda: s3.stages("sound"))
    (line,) = memory_log.events("tracking_fault")
    assert (line["inference_id"], line["error"]) == ("broken", "RuntimeError: a bug")


def test_64_requests_share_two_threads_and_each_is_cancelled_within_two_looks(
    s3: ObservedS3, tracker: RequestTracker
) -> None:
    before = set(threading.enumerate())  # those of other tests may end meanwhile
    followed = [Progress(f"id-{number}", "out", 1) for number in range(64)]
    for progress in followed:
        tracker.follow(progress)
    assert sorted(thread.name for thread in set(threading.enumerate()) - before) == ["cancellation", "progress"]
    wait_until(lambda: len({key for _, key, _ in s3.writes}) == 64)
    assert s3.threads == {"progress", "cancellation"}
    looks = len(s3.looks)
    s3.cancelled.update(("out", f"cancel/{progress.inference_id}") for progress in followed)
    wait_until(lambda: all(progress.cancelled for progress in followed))
    assert len(s3.looks) - looks <= 2 * 64


def test_no_thread_is_started_until_a_request_is_followed(s3: ObservedS3, memory_log: Any) -> None:
    before = set(threading.enumerate())
    RequestTracker(s3, "out", memory_log.log).stop()
    assert set(threading.enumerate()) <= before and not s3.writes and not s3.looks


def test_a_call_that_hangs_does_not_keep_a_worker_from_ending() -> None:
    """multi-model-server ends a worker by returning from its main thread."""
    code = (
        "import threading; from musicgen_serving.http.tracking import Progress, RequestTracker\n"
        "from musicgen_serving.json_log import JsonLog\n"
        "class Hanging:\n"
        "    def put_object(self, **_): threading.Event().wait()\n"
        "    head_object = put_object\n"
        "RequestTracker(Hanging(), 'out', JsonLog.to(None)).follow(Progress('a', 'out', 1)); print('ends')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "ends\n", "")


def test_a_call_to_s3_is_tried_once_and_takes_two_seconds_at_most() -> None:
    config: Any = TRACKING_CONFIG
    assert (config.connect_timeout, config.read_timeout, config.retries["total_max_attempts"]) == (1, 1, 1)
    assert config.s3["us_east_1_regional_endpoint"] == "regional"


@pytest.fixture
def served(
    staged_musicgen: Path, generator: Any, s3: ObservedS3, tracker: RequestTracker, memory_log: Any
) -> Iterator[ContainerClient]:
    """A client of the real server with the tiny model's engine."""
    invocations = Invocations(memory_log.log, max_concurrent_requests=4)
    server = ContainerServer("127.0.0.1", 0, invocations, memory_log.log)
    server.start()
    audio_input = AudioInput(AudioSource(s3, ()), generator.sampling_rate, generator.channels)
    model = Model(read_checkpoint(staged_musicgen), generator, AudioStore(s3, ("out",)), tracker, audio_input)
    invocations.serve(inference, model)
    yield ContainerClient(server.port)
    server.stop()


def invoke(served: ContainerClient, inference_id: str, texts: int = 1, **fields: Any) -> Any:
    body = {"texts": ["a"] * texts, "generation_params": {"max_new_tokens": 1503}, **fields}
    return served.invoke(body, X_Amzn_SageMaker_Inference_Id=inference_id)


def test_a_served_request_passes_all_stages_and_percentages_only_grow(
    quick: None, served: ContainerClient, s3: ObservedS3
) -> None:
    response = invoke(served, "id-1", 2, progress=True, generation_params={"max_new_tokens": 300})
    assert (response.status, response.json["durations"]) == (200, [5.94, 5.94])
    wait_until(lambda: s3.stages("id-1")[-1] == "done")
    states = [written for _, _, written in s3.writes]
    order = ["queued", "generating", "uploading", "done"]
    assert [order.index(one["stage"]) for one in states] == sorted(order.index(one["stage"]) for one in states)
    percents = [one["percent"] for one in states if one["stage"] == "generating"]
    assert percents == sorted(percents) and len(set(percents)) > 5 and percents[-1] > 50
    assert (states[-1]["percent"], states[-1]["clips_done"], states[-1]["clips"]) == (100, 2, 2)
    assert s3.threads == {"progress", "cancellation"}


def test_without_the_field_nothing_is_written_or_looked_for(served: ContainerClient, s3: ObservedS3) -> None:
    s3.cancelled.add(("out", "cancel/id-1"))
    response = invoke(served, "id-1", progress=False, generation_params={"max_new_tokens": 13})
    assert (response.status, s3.writes, s3.looks) == (200, [], [])


def test_a_running_request_that_is_cancelled_leaves_the_engine_within_2_s_and_others_go_on(
    served: ContainerClient, generator: Any, s3: ObservedS3, memory_log: Any
) -> None:
    """Eight clips fill all slots; another request waits, and gets one as soon as they are cancelled."""
    answers: dict[str, Any] = {}
    left = threading.Event()
    collect = generator.batch.collect_finished

    def noting() -> None:
        collect()
        if cancelled_at and not any(len(one.request.clips) == 8 for one in generator.batch.sequences):
            left.set()

    def send(name: str, texts: int, **fields: Any) -> threading.Thread:
        def run() -> None:
            answers[name] = invoke(served, name, texts, **fields)

        thread = threading.Thread(target=run)
        thread.start()
        return thread

    cancelled_at: list[float] = []
    generator.batch.collect_finished = noting
    try:
        long = send("long", 8, progress=True)
        wait_until(lambda: len(generator.batch.sequences) == 8)
        waiting = send("waiting", 1, generation_params={"max_new_tokens": 13})
        wait_until(lambda: s3.stages("long")[-1:] == ["generating"])  # and both requests are in the engine
        s3.cancelled.add(("out", "cancel/long"))
        cancelled_at.append(time.monotonic())
        assert left.wait(30)
        seconds = time.monotonic() - cancelled_at[0]
    finally:
        generator.batch.collect_finished = collect
    long.join(30)
    waiting.join(30)
    assert seconds < 2
    assert (answers["long"].status, answers["long"].json) == (
        409,
        {"error": "the request was cancelled by the client", "status": 409},
    )
    assert answers["waiting"].status == 200
    wait_until(lambda: s3.stages("long")[-1] == "cancelled")
    (line,) = [line for line in memory_log.events("invocation") if line["inference_id"] == "long"]
    assert line["status"] == 409


def test_a_request_that_waits_in_the_engine_is_cancelled_too(
    quick: None, served: ContainerClient, generator: Any, s3: ObservedS3
) -> None:
    answers: list[Any] = []
    first = threading.Thread(target=lambda: answers.append(invoke(served, "first", 8, progress=True)))
    first.start()
    wait_until(lambda: len(generator.batch.sequences) == 8)
    second = threading.Thread(target=lambda: answers.append(invoke(served, "second", progress=True)))
    second.start()
    wait_until(lambda: s3.stages("second") == ["queued"])
    s3.cancelled.add(("out", "cancel/second"))
    second.join(30)
    assert answers[0].status == 409 and len(generator.batch.sequences) == 8
    s3.cancelled.add(("out", "cancel/first"))
    first.join(30)
    assert answers[1].status == 409
    assert s3.stages("second")[0] == "queued" and "generating" not in s3.stages("second")


def test_a_request_cancelled_before_it_is_delivered_never_reaches_the_engine(
    served: ContainerClient, generator: Any, s3: ObservedS3, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit = Mock(wraps=generator.engine.submit)
    monkeypatch.setattr(generator.engine, "submit", submit)
    s3.cancelled.add(("out", "cancel/id-1"))
    assert invoke(served, "id-1", progress=True).status == 409
    assert submit.call_count == 0
    assert invoke(served, "id-1", generation_params={"max_new_tokens": 5}).status == 200  # without the field


@pytest.mark.parametrize("fault", ["hangs", "fails", "denies"])
def test_clips_are_made_and_uploaded_whatever_the_state_of_s3(
    fault: str, served: ContainerClient, s3: ObservedS3, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracking, "FIRST_CHECK_SECONDS", 0.05)
    if fault == "hangs":
        s3.may_write.clear()
        s3.may_look.clear()
    else:
        s3.write_failure = s3.look_failure = client_error(503 if fault == "fails" else 403, "any")
    responses = [
        invoke(served, f"id-{number}", progress=True, generation_params={"max_new_tokens": 13}) for number in range(3)
    ]
    assert [response.status for response in responses] == [200] * 3
