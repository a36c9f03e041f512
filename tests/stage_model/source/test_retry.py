"""Attempts are repeated while there is progress, after the wait that the server requests, and not forever."""

import pytest

from stage_model.errors import OutOfTimeError, StalledError, TransientError
from stage_model.retry import RetryBudget, retry
from tests.stage_model.fakes.clock import WaitingClock


def failing(clock: WaitingClock, until: float, retry_after_s: float | None) -> str:
    """Fail until a time, requesting a wait."""
    if clock.time < until:
        raise TransientError("the source answered 429", retry_after_s)
    return "done"


def test_waits_for_a_rate_limit_longer_than_a_stall() -> None:
    clock = WaitingClock()
    assert retry(RetryBudget(clock, 870.0), lambda: failing(clock, 300.0, 300.0)) == "done"
    assert clock.waits == [300.0]


def test_waits_for_consecutive_rate_limit_windows() -> None:
    clock = WaitingClock()
    assert retry(RetryBudget(clock, 870.0), lambda: failing(clock, 560.0, 280.0)) == "done"
    assert clock.waits == [280.0, 280.0]


def test_gives_up_after_many_short_waits_without_progress() -> None:
    clock = WaitingClock()
    with pytest.raises(StalledError, match=r"gave up after \d+ s without progress: the source answered 429, asking"):
        retry(RetryBudget(clock, 1e9), lambda: failing(clock, 1e9, 30.0))
    assert 800.0 <= clock.time <= 900.0


def test_rejects_an_excessive_wait_at_once() -> None:
    clock = WaitingClock()
    with pytest.raises(StalledError, match=r"gave up after 0 s without progress: .*, asking for 3600 s more"):
        retry(RetryBudget(clock, 870.0), lambda: failing(clock, 1e9, 3600.0))
    assert clock.waits == []


def test_waits_until_the_deadline_so_that_the_next_invocation_does_not_retry_at_once() -> None:
    clock = WaitingClock()
    with pytest.raises(OutOfTimeError):
        retry(RetryBudget(clock, 100.0), lambda: failing(clock, 1e9, 300.0))
    assert clock.time == 100.0


def test_failures_without_retry_after_stall_after_two_minutes() -> None:
    clock = WaitingClock()
    with pytest.raises(StalledError, match=r"without progress: the source answered 429$"):
        retry(RetryBudget(clock, 1e9), lambda: failing(clock, 1e9, None))
    assert 105.0 <= clock.time <= 120.0


def test_progress_resets_the_budget() -> None:
    clock = WaitingClock()
    attempts = RetryBudget(clock, 1e9).attempts()
    for _ in range(20):
        attempts.progressed()
        attempts.wait_after(TransientError("the source answered 429", 300.0))
    assert clock.time == 20 * 300.0
