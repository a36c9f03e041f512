"""The request queue, on a clock that the test sets."""

from datetime import UTC, datetime

import pytest

from local_aws.sagemaker.requests.invocation_request import AsyncRequest
from local_aws.sagemaker.requests.request_queue import QueueClosed, QueueFull, RequestQueue


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def queue(clock: Clock) -> RequestQueue:
    return RequestQueue(clock)


def request(name: str, *, received_at: float = 0.0, ttl: float = 60.0) -> AsyncRequest:
    return AsyncRequest(
        inference_id=name,
        body=b"{}",
        input_location=None,
        content_type="application/json",
        accept=None,
        custom_attributes=None,
        output_location="s3://bucket/out",
        failure_location=None,
        invocation_timeout=900,
        received_at=received_at,
        expires_at=received_at + ttl,
        received_time=datetime(2026, 1, 1, tzinfo=UTC),
    )


def test_first_in_is_first_out(queue: RequestQueue) -> None:
    first, second = request("first"), request("second")
    queue.put(first)
    queue.put(second)
    assert queue.take(0) is first
    assert queue.take(0) is second
    assert queue.take(0) is None


def test_size_counts_waiting_and_in_progress_until_finished(queue: RequestQueue) -> None:
    job = request("job")
    queue.put(job)
    queue.put(request("next"))
    queue.take(0)
    assert queue.size == 2
    queue.finish(job)
    assert queue.size == 1


def test_request_put_back_waits_its_delay_and_then_goes_first(queue: RequestQueue, clock: Clock) -> None:
    retried, other = request("retried"), request("other")
    queue.put(retried)
    queue.put(other)
    assert queue.take(0) is retried
    assert queue.put_back(retried, delay=5)
    assert queue.take(0) is other
    assert queue.take(0) is None
    clock.now = 5
    assert queue.take(0) is retried


def test_only_requests_past_their_time_to_live_expire(queue: RequestQueue, clock: Clock) -> None:
    short, long = request("short", ttl=60), request("long", ttl=61)
    queue.put(short)
    queue.put(long)
    clock.now = 60
    assert queue.take_expired() == [short]
    assert queue.take_expired() == []
    assert queue.take(0) is long


def test_age_is_that_of_the_oldest_waiting_request(queue: RequestQueue, clock: Clock) -> None:
    assert queue.oldest_age == 0
    queue.put(request("old", received_at=1))
    queue.put(request("new", received_at=3))
    clock.now = 10
    assert queue.oldest_age == 9


def test_closed_queue_returns_the_waiting_requests_and_accepts_none(queue: RequestQueue) -> None:
    running, waiting = request("running"), request("waiting")
    queue.put(running)
    queue.put(waiting)
    queue.take(0)
    assert queue.close() == [waiting]
    with pytest.raises(QueueClosed):
        queue.put(request("late"))
    assert queue.put_back(running, delay=0) is False
    assert queue.take(0) is None


def test_full_queue_refuses_the_next_request(queue: RequestQueue) -> None:
    for number in range(10_000):
        queue.put(request(str(number)))
    with pytest.raises(QueueFull):
        queue.put(request("excess"))


def test_discarding_queue_drops_requests_put_back(queue: RequestQueue) -> None:
    running = request("running")
    queue.put(running)
    queue.put(request("waiting"))
    queue.take(0)
    queue.discard()
    assert queue.close() == []
    assert queue.put_back(running, delay=0) is True
    assert queue.take(0) is None
