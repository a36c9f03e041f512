"""From queue to container: order, concurrency, retries and time-outs; results are recorded instead of written."""

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import pytest

from conformance.behaviour import documented
from local_aws.sagemaker.instances.container import free_port
from local_aws.sagemaker.requests.dispatcher import Busy, Dispatcher, Outcome, call_container
from local_aws.sagemaker.requests.invocation_request import AsyncRequest
from local_aws.sagemaker.requests.request_queue import RequestQueue
from local_aws.sagemaker.requests.results import EndpointMetrics, ResultWriter

MONITOR = "https://docs.aws.amazon.com/sagemaker/latest/dg/async-inference-monitor.html"
CONTAINER = "https://docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-inference-code.html"


class ResultRecorder(ResultWriter):
    """Records results as (inference id, status, text) instead of writing them."""

    def __init__(self) -> None:
        self.results: list[tuple[str, str, str]] = []
        self.metrics = EndpointMetrics()
        self._lock = threading.Lock()

    def complete(self, request: AsyncRequest, body: bytes, content_type: str) -> None:
        self._add(request, "Completed", body.decode())

    def fail(self, request: AsyncRequest, reason: str, *, status: str = "Failed", **response: Any) -> None:
        self._add(request, status, reason)

    def _add(self, request: AsyncRequest, status: str, text: str) -> None:
        with self._lock:
            self.results.append((request.inference_id, status, text))


class Bench:
    """A queue on a clock that the test sets, recorded results, and dispatchers to fake containers."""

    def __init__(self, world: Any, eventually: Callable[..., Any], log: Path) -> None:
        self.log = log
        self.now = 1000.0
        self.queue = RequestQueue(clock=lambda: self.now + time.monotonic())
        self.recorder = ResultRecorder()
        self.world = world
        self.eventually = eventually
        self.dispatchers: list[Dispatcher] = []

    def serve(self, slots: int = 2, base_url: str | None = None) -> Any:
        container = None if base_url else self.container()
        url = container.base_url if container else str(base_url)
        self.dispatchers.append(Dispatcher(url, slots, self.queue, self.recorder, cast(Any, None)))
        return container

    def container(self) -> Any:
        return self.world.launch({"SAGEMAKER_BIND_TO_PORT": str(free_port())}, self.log)

    def send(self, inference_id: str, *, timeout: float = 20.0, ttl: float = 600.0, **body: Any) -> None:
        now = self.queue.clock()
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
        self.queue.put(request)

    def results(self, count: int) -> list[tuple[str, str, str]]:
        self.eventually(lambda: len(self.recorder.results) >= count)
        return self.recorder.results


@pytest.fixture
def bench(world: Any, eventually: Callable[..., Any], tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(world, eventually, tmp_path / "log")
    yield bench
    for dispatcher in bench.dispatchers:
        dispatcher.stop_taking()
    for dispatcher in bench.dispatchers:
        assert dispatcher.join(10)


def test_one_slot_serves_the_queue_in_order(bench: Bench) -> None:
    for number in range(5):
        bench.send(f"r{number}")
    container = bench.serve(slots=1)
    assert [result[0] for result in bench.results(5)] == ["r0", "r1", "r2", "r3", "r4"]
    assert container.max_in_flight == 1


@documented("https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_AsyncInferenceClientConfig.html")
def test_instance_serves_one_request_per_slot_at_once(bench: Bench) -> None:
    """MaxConcurrentInvocationsPerInstance: concurrent requests sent by the SageMaker client to the container."""
    for number in range(9):
        bench.send(f"r{number}", sleep=0.15)
    container = bench.serve(slots=3)
    assert {status for _, status, _ in bench.results(9)} == {"Completed"}
    assert container.max_in_flight == 3


@documented(CONTAINER, unknown="AWS documents no retries; here 503 means busy, and the request is tried again")
def test_request_is_retried_until_the_busy_container_accepts_it(bench: Bench) -> None:
    """SageMaker passes the request to the container: one that answers 503 is busy."""
    bench.send("retried", busy=4, text="done")
    bench.serve()
    assert bench.results(1) == [("retried", "Completed", '{"text": "done"}')]
    assert len(bench.world.received) == 5


def test_request_that_a_busy_container_never_accepts_expires(bench: Bench) -> None:
    bench.send("stale", ttl=60, busy=10**6)
    bench.serve(slots=1)
    bench.eventually(lambda: bench.world.received)
    bench.now += 61
    ((identifier, status, reason),) = bench.results(1)
    assert (identifier, status) == ("stale", "Expired")
    assert "RequestTTLSeconds" in reason


def test_request_waits_for_a_container_that_does_not_listen_yet(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    outcomes: list[Outcome] = []

    def call(base_url: str, body: bytes, headers: Mapping[str, str], timeout: float) -> Outcome:
        outcomes.append(call_container(base_url, body, headers, timeout))
        return outcomes[-1]

    monkeypatch.setattr("local_aws.sagemaker.requests.dispatcher.call_container", call)
    bench.send("early")
    port = free_port()
    bench.serve(base_url=f"http://127.0.0.1:{port}")
    bench.eventually(lambda: outcomes)
    assert isinstance(outcomes[0], Busy)
    assert bench.recorder.results == []
    bench.world.launch({"SAGEMAKER_BIND_TO_PORT": str(port)}, bench.log)
    assert bench.results(1)[0][:2] == ("early", "Completed")


def test_request_is_delivered_again_after_a_broken_connection(bench: Bench) -> None:
    bench.send("lost", drop=2)
    bench.serve()
    assert bench.results(1)[0][:2] == ("lost", "Completed")
    assert len(bench.world.received) == 3


@documented(CONTAINER, unknown="AWS documents no retries; here a request is delivered at most three times")
def test_request_that_breaks_every_connection_fails_after_three_deliveries(bench: Bench) -> None:
    """SageMaker passes the request to the container: one that breaks its connection has not answered."""
    bench.send("poison", drop=10**6)
    bench.send("neighbour", sleep=0.1)
    bench.serve()
    by_id = {identifier: (status, text) for identifier, status, text in bench.results(2)}
    assert by_id["poison"][0] == "Failed"
    assert by_id["poison"][1].startswith("ClientError: Received server error (0) from model")
    assert by_id["neighbour"][0] == "Completed"
    assert len([headers for headers, _ in bench.world.received if "poison" in headers.values()]) == 3


@pytest.mark.parametrize(("status", "side"), [(400, "client"), (422, "client"), (500, "server"), (599, "server")])
def test_error_status_fails_the_request_with_sagemakers_reason(bench: Bench, status: int, side: str) -> None:
    bench.send("bad", status=status)
    bench.serve()
    assert bench.results(1) == [
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
    assert bench.results(1) == [
        ("chunked", "Failed", "ClientError: The response from the model must have Content-Length, got none.")
    ]


def test_response_later_than_the_invocation_timeout_expires_the_request(bench: Bench) -> None:
    bench.send("slow", timeout=0.3, sleep=3)
    bench.serve()
    assert bench.results(1) == [("slow", "Expired", "ClientError: The model did not answer within 0.3 seconds.")]


def test_every_request_is_answered_exactly_once_while_containers_die(bench: Bench) -> None:
    """Containers are killed during their requests, which the next container then serves."""
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
    bench.results(len(names))
    assert Counter(identifier for identifier, _, _ in bench.recorder.results) == Counter(names)
    assert {status for _, status, _ in bench.recorder.results} == {"Completed"}
    bench.eventually(lambda: bench.queue.size == 0)


def test_closed_queue_fails_the_request_that_was_being_retried(bench: Bench) -> None:
    bench.send("retried", busy=10**6)
    bench.serve(slots=1)
    bench.eventually(lambda: bench.world.received)
    left = bench.queue.close()
    if left:
        assert [request.inference_id for request in left] == ["retried"]
        assert bench.recorder.results == []
    else:
        assert bench.results(1) == [("retried", "Failed", "ClientError: The endpoint was deleted.")]


@documented(MONITOR)
def test_metrics_of_invocations_have_sagemakers_units(bench: Bench) -> None:
    """ModelLatency is in microseconds, TimeInBacklog and TotalProcessingTime are in milliseconds."""
    bench.send("fine", sleep=0.1)
    bench.send("refused", status=422)
    bench.serve(slots=1)
    bench.results(2)
    bench.eventually(lambda: bench.queue.size == 0)
    values = bench.recorder.metrics.take()
    assert (values["Invocation4XXErrors"], values["Invocation5XXErrors"]) == ((0.0, 1.0), (0.0, 0.0))
    slow, fast = values["ModelLatency"]
    assert slow >= 100_000 > fast > 0  # microseconds
    assert values["TimeInBacklog"][1] >= 100  # milliseconds: the second waited for the first
    assert values["TotalProcessingTime"][0] >= 100
    assert bench.recorder.metrics.take() == {}
