"""The queue of one endpoint, on a clock that the test moves."""

from datetime import UTC, datetime

import pytest

from local_aws.sagemaker.backlog import Backlog, BacklogClosed, BacklogFull
from local_aws.sagemaker.request import AsyncRequest


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def backlog(clock: Clock) -> Backlog:
    return Backlog(clock)


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


def test_first_in_is_first_out(backlog: Backlog) -> None:
    first, second = request("first"), request("second")
    backlog.put(first)
    backlog.put(second)
    assert backlog.take(0) is first
    assert backlog.take(0) is second
    assert backlog.take(0) is None


def test_size_counts_waiting_and_in_progress_until_finished(backlog: Backlog) -> None:
    job = request("job")
    backlog.put(job)
    backlog.put(request("next"))
    backlog.take(0)
    assert (backlog.size, backlog.waiting) == (2, 1)
    backlog.finish(job)
    assert (backlog.size, backlog.waiting) == (1, 1)


def test_request_put_back_waits_its_delay_and_then_goes_first(backlog: Backlog, clock: Clock) -> None:
    retried, other = request("retried"), request("other")
    backlog.put(retried)
    backlog.put(other)
    assert backlog.take(0) is retried
    assert backlog.put_back(retried, delay=5)
    assert backlog.take(0) is other
    assert backlog.take(0) is None
    clock.now = 5
    assert backlog.take(0) is retried


def test_only_requests_past_their_time_to_live_expire(backlog: Backlog, clock: Clock) -> None:
    short, long = request("short", ttl=60), request("long", ttl=61)
    backlog.put(short)
    backlog.put(long)
    clock.now = 60
    assert backlog.take_expired() == [short]
    assert backlog.take_expired() == []
    assert backlog.waiting == 1


def test_age_is_that_of_the_oldest_waiting_request(backlog: Backlog, clock: Clock) -> None:
    assert backlog.oldest_age == 0
    backlog.put(request("old", received_at=1))
    backlog.put(request("new", received_at=3))
    clock.now = 10
    assert backlog.oldest_age == 9


def test_closed_backlog_hands_out_what_waits_and_takes_nothing(backlog: Backlog) -> None:
    running, waiting = request("running"), request("waiting")
    backlog.put(running)
    backlog.put(waiting)
    backlog.take(0)
    assert backlog.close() == [waiting]
    with pytest.raises(BacklogClosed):
        backlog.put(request("late"))
    assert backlog.put_back(running, delay=0) is False
    assert backlog.take(0) is None


def test_full_backlog_refuses_the_next_request(backlog: Backlog) -> None:
    for number in range(10_000):
        backlog.put(request(str(number)))
    with pytest.raises(BacklogFull):
        backlog.put(request("one too many"))


def test_abandoned_backlog_swallows_what_comes_back(backlog: Backlog) -> None:
    running = request("running")
    backlog.put(running)
    backlog.put(request("waiting"))
    backlog.take(0)
    backlog.abandon()
    assert backlog.close() == []
    assert backlog.put_back(running, delay=0) is True
    assert backlog.take(0) is None
