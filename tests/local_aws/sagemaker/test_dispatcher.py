"""From queue to container: order, concurrency, retries and time-outs; answers are recorded instead of sent."""

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import pytest

from local_aws.sagemaker.answers import Answers
from local_aws.sagemaker.backlog import Backlog
from local_aws.sagemaker.container_call import Busy, Outcome, call_container
from local_aws.sagemaker.dispatcher import Dispatcher
from local_aws.sagemaker.environment import free_port
from local_aws.sagemaker.request import AsyncRequest
from local_aws.sagemaker.tally import Tally


class Recorder:
    """Takes the place of Answers: what was answered, by inference id."""

    def __init__(self) -> None:
        self.answers: list[tuple[str, str, str]] = []
        self.tally = Tally()
        self._lock = threading.Lock()

    def complete(self, request: AsyncRequest, answer: Any) -> None:
        self._add(request, "Completed", answer.body.decode())

    def fail(self, request: AsyncRequest, refusal: Any, *, status: str = "Failed") -> None:
        self._add(request, status, refusal.reason)

    def _add(self, request: AsyncRequest, status: str, text: str) -> None:
        with self._lock:
            self.answers.append((request.inference_id, status, text))


class Bench:
    """A backlog on a clock that the test moves, a recorder, and dispatchers to fake containers."""

    def __init__(self, world: Any, eventually: Callable[..., Any], log: Path) -> None:
        self.log = log
        self.now = 1000.0
        self.backlog = Backlog(clock=lambda: self.now + time.monotonic())
        self.recorder = Recorder()
        self.world = world
        self.eventually = eventually
        self.dispatchers: list[Dispatcher] = []

    def serve(self, slots: int = 2, base_url: str | None = None) -> Any:
        container = None if base_url else self.container()
        url = container.base_url if container else str(base_url)
        answers = cast(Answers, self.recorder)
        self.dispatchers.append(Dispatcher(url, slots, self.backlog, answers, cast(Any, None)))
        return container

    def container(self) -> Any:
        return self.world.launch({"SAGEMAKER_BIND_TO_PORT": str(free_port())}, self.log)

    def send(self, inference_id: str, *, timeout: float = 20.0, ttl: float = 600.0, **body: Any) -> None:
        now = self.backlog.clock()
        request = AsyncRequest(
            inference_id=inference_id,
            body=json.dumps(body).encode(),
            input_location=None,
            content_type="application/json",
            accept=None,
            custom_attributes=None,
            output_location="s3://bucket/out/x.out",
            failure_location=None,
            invocation_timeout=timeout,
            received_at=now,
            expires_at=now + ttl,
        )
        self.backlog.put(request)

    def answers(self, count: int) -> list[tuple[str, str, str]]:
        self.eventually(lambda: len(self.recorder.answers) >= count)
        return self.recorder.answers


@pytest.fixture
def bench(world: Any, eventually: Callable[..., Any], tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(world, eventually, tmp_path / "log")
    yield bench
    for dispatcher in bench.dispatchers:
        dispatcher.stop_taking()
    for dispatcher in bench.dispatchers:
        assert dispatcher.join(10)


def test_one_slot_works_through_the_queue_in_order(bench: Bench) -> None:
    for number in range(5):
        bench.send(f"r{number}")
    container = bench.serve(slots=1)
    assert [answer[0] for answer in bench.answers(5)] == ["r0", "r1", "r2", "r3", "r4"]
    assert container.most_in_flight == 1


def test_instance_works_on_as_many_requests_at_once_as_it_may(bench: Bench) -> None:
    for number in range(9):
        bench.send(f"r{number}", sleep=0.15)
    container = bench.serve(slots=3)
    assert {status for _, status, _ in bench.answers(9)} == {"Completed"}
    assert container.most_in_flight == 3


def test_busy_container_gets_the_request_again_until_it_has_room(bench: Bench) -> None:
    bench.send("patient", busy=4, text="at last")
    bench.serve()
    assert bench.answers(1) == [("patient", "Completed", '{"text": "at last"}')]
    assert len(bench.world.received) == 5


def test_request_that_a_busy_container_never_takes_expires(bench: Bench) -> None:
    bench.send("stale", ttl=60, busy=10**6)
    bench.serve(slots=1)
    bench.eventually(lambda: bench.world.received)
    bench.now += 61
    ((identifier, status, reason),) = bench.answers(1)
    assert (identifier, status) == ("stale", "Expired")
    assert "RequestTTLSeconds" in reason


def test_request_waits_for_a_container_that_does_not_listen_yet(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    outcomes: list[Outcome] = []

    def call(base_url: str, body: bytes, headers: Mapping[str, str], timeout: float) -> Outcome:
        outcomes.append(call_container(base_url, body, headers, timeout))
        return outcomes[-1]

    monkeypatch.setattr("local_aws.sagemaker.dispatcher.call_container", call)
    bench.send("early")
    port = free_port()
    bench.serve(base_url=f"http://127.0.0.1:{port}")
    bench.eventually(lambda: outcomes)
    assert isinstance(outcomes[0], Busy)
    assert bench.recorder.answers == []
    bench.world.launch({"SAGEMAKER_BIND_TO_PORT": str(port)}, bench.log)
    assert bench.answers(1)[0][:2] == ("early", "Completed")


def test_request_lost_with_its_connection_is_delivered_again(bench: Bench) -> None:
    bench.send("lost", drop=2)
    bench.serve()
    assert bench.answers(1)[0][:2] == ("lost", "Completed")
    assert len(bench.world.received) == 3


def test_request_that_breaks_every_connection_fails_after_three_deliveries(bench: Bench) -> None:
    bench.send("poison", drop=10**6)
    bench.send("neighbour", sleep=0.1)
    bench.serve()
    by_id = {identifier: (status, text) for identifier, status, text in bench.answers(2)}
    assert by_id["poison"][0] == "Failed"
    assert by_id["poison"][1].startswith("ClientError: Received server error (0) from model")
    assert by_id["neighbour"][0] == "Completed"
    assert len([headers for headers, _ in bench.world.received if "poison" in headers.values()]) == 3


@pytest.mark.parametrize(("status", "side"), [(400, "client"), (422, "client"), (500, "server"), (599, "server")])
def test_error_status_fails_the_request_with_sagemakers_reason(bench: Bench, status: int, side: str) -> None:
    bench.send("bad", status=status)
    bench.serve()
    assert bench.answers(1) == [
        (
            "bad",
            "Failed",
            f"ClientError: Received {side} error ({status}) from model. "
            "See the SageMaker Endpoint logs in your account for more information.",
        )
    ]


def test_response_without_content_length_fails_the_request(bench: Bench) -> None:
    bench.send("chunked", chunked=True)
    bench.serve()
    assert bench.answers(1) == [
        ("chunked", "Failed", "ClientError: The response from the model must have Content-Length, got none.")
    ]


def test_response_later_than_the_invocation_timeout_expires_the_request(bench: Bench) -> None:
    bench.send("slow", timeout=0.3, sleep=3)
    bench.serve()
    assert bench.answers(1) == [("slow", "Expired", "ClientError: The model did not answer within 0.3 seconds.")]


def test_every_request_is_answered_exactly_once_while_containers_die(bench: Bench) -> None:
    """Containers are killed in the middle of their work; the requests move on to the next."""
    names = [f"r{number}" for number in range(40)]
    for name in names:
        bench.send(name, sleep=0.05)
    for _ in range(2):
        container = bench.serve(slots=4)
        bench.eventually(lambda: bench.world.received)
        time.sleep(0.15)
        container.stop()
        bench.dispatchers[-1].stop_taking()
        assert bench.dispatchers[-1].join(10)
    bench.serve(slots=4)
    bench.answers(len(names))
    assert Counter(identifier for identifier, _, _ in bench.recorder.answers) == Counter(names)
    assert {status for _, status, _ in bench.recorder.answers} == {"Completed"}
    bench.eventually(lambda: bench.backlog.size == 0)


def test_closed_backlog_fails_the_request_that_was_being_retried(bench: Bench) -> None:
    bench.send("retried", busy=10**6)
    bench.serve(slots=1)
    bench.eventually(lambda: bench.world.received)
    left = bench.backlog.close()
    if left:
        assert [request.inference_id for request in left] == ["retried"]
        assert bench.recorder.answers == []
    else:
        assert bench.answers(1) == [("retried", "Failed", "ClientError: The endpoint was deleted.")]


def test_answered_invocations_are_measured_in_sagemakers_units(bench: Bench) -> None:
    bench.send("fine", sleep=0.1)
    bench.send("refused", status=422)
    bench.serve(slots=1)
    bench.answers(2)
    bench.eventually(lambda: bench.backlog.size == 0)
    values = bench.recorder.tally.take()
    assert (values["Invocation4XXErrors"], values["Invocation5XXErrors"]) == ((0.0, 1.0), (0.0, 0.0))
    slow, fast = values["ModelLatency"]
    assert slow >= 100_000 > fast > 0  # microseconds
    assert values["TimeInBacklog"][1] >= 100  # milliseconds: the second waited for the first
    assert values["TotalProcessingTime"][0] >= 100
    assert bench.recorder.tally.take() == {}
