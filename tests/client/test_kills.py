"""1,000 jobs with the client killed at random moments, a few with kills at every moment: none lost, none twice."""

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ReadTimeoutError

from musicgen_client import journal as journal_module
from musicgen_client.jobs import Limits, Runner, batch
from musicgen_client.journal import SAVED, Journal, replay
from musicgen_client.requests.request import Request
from musicgen_client.stack import Stack
from musicgen_client.transport import Transport
from tests.client.helpers.fake_aws import FakeAws, Killed, client_error

STACK = Stack("MusicGen-test", "music", "inputs", "outputs")
LIMITS = Limits(ttl=600, time_limit=60, margin=30, window=8)


def jobs(count: int) -> Iterator[tuple[str, Request, dict[str, Any]]]:
    label: dict[str, Any] = {}
    requests = ((Request(texts=(f"tune {index // 2}",), duration=0.02), label) for index in range(count))
    return batch(requests, "test")  # every prompt twice: two jobs, not one


def run_once(aws: FakeAws, path: Path, count: int, limits: Limits = LIMITS) -> None:
    """One life of the process: as a batch of the command line, which marks what it has stored."""
    with Journal(path) as journal:
        transport = Transport(STACK, aws.clients, sleep=aws.sleep)
        runner = Runner(transport, journal, limits, clock=aws.clock, sleep=aws.sleep)
        for record in runner.run(jobs(count)):
            assert record.status == "completed", record.error
            journal.append(SAVED, record.id, files=[])


def run_until_done(aws: FakeAws, path: Path, count: int, limits: Limits = LIMITS) -> int:
    """Start the process again after each kill; return how often it was killed."""
    for kills in range(100_000):
        try:
            run_once(aws, path, count, limits)
        except Killed:
            aws.sleep(1)
        else:
            return kills
    raise AssertionError("the jobs never completed")


def check(aws: FakeAws, path: Path, count: int) -> None:
    assert len(aws.generated) == count
    assert set(aws.generated.values()) == {1}
    records = replay(path)
    assert [record.event for record in records] == ["saved"] * count
    assert {record.id for record in records} == set(aws.generated)


def tearing_writes(
    monkeypatch: pytest.MonkeyPatch, fault: Callable[[str, str], None], fraction: Callable[[], float]
) -> None:
    """Let `fault` end the process before, in the middle of, or after a line's way to the disk."""
    whole = journal_module.write_line

    def write(file: Any, line: bytes) -> None:
        fault("write", "before")
        try:
            fault("write", "torn")
        except Killed:
            whole(file, line[: int(len(line) * fraction())])
            raise
        whole(file, line)
        fault("write", "after")

    monkeypatch.setattr(journal_module, "write_line", write)


def _nothing(_: int) -> None:
    """Do not wait for the disk."""


def _no_audio(_duration: float, _seed: int) -> bytes:
    return b""


@pytest.mark.parametrize(
    ("seed", "members"),
    [(0, ("Body", "Filename")), (1, ("Body", "Filename")), (2, ())],
    ids=["0", "1", "older botocore"],
)
def test_thousand_jobs_survive_random_kills(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int, members: tuple[str, ...]
) -> None:
    monkeypatch.setattr(journal_module.os, "fsync", _nothing)  # speed; kills here do not take the machine
    chance = random.Random(seed)
    aws = FakeAws(seed=seed, members=members, seconds=3, clip=_no_audio)

    def fault(name: str, when: str) -> None:
        if chance.random() < (0.004 if name in ("invoke", "write") else 0.0004):
            raise Killed
        if name == "invoke" and chance.random() < 0.02:  # the answer is lost, or AWS throttles
            error = ReadTimeoutError(endpoint_url="x") if when == "after" else client_error("ThrottlingException")
            raise error

    aws.fault = fault
    tearing_writes(monkeypatch, fault, chance.random)
    path = tmp_path / "journal.jsonl"
    if members:
        kills = run_until_done(aws, path, 1000)
        check(aws, path, 1000)
        assert kills > 50
    else:
        # Nobody can tell where the result of a call is whose answer was lost, so such a job may end as expired.
        kills = _run_tolerating_expiry(aws, path, 1000)
        records = replay(path)
        assert kills > 50 and len(records) == 1000
        assert not [record for record in records if record.open]
        assert set(aws.generated.values()) == {1}
        assert set(aws.generated) == {record.id for record in records}


def _run_tolerating_expiry(aws: FakeAws, path: Path, count: int) -> int:
    for kills in range(100_000):
        try:
            with Journal(path) as journal:
                transport = Transport(STACK, aws.clients, sleep=aws.sleep)
                runner = Runner(transport, journal, LIMITS, clock=aws.clock, sleep=aws.sleep)
                for record in runner.run(jobs(count)):
                    if record.status == "completed":
                        journal.append(SAVED, record.id, files=[])
        except Killed:
            aws.sleep(1)
        else:
            return kills
    raise AssertionError("the jobs never completed")


def test_kill_at_every_moment_of_three_jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = {"count": 0, "kill_at": -1}

    def fault(name: str, when: str) -> None:
        state["count"] += 1
        if state["count"] == state["kill_at"]:
            raise Killed

    tearing_writes(monkeypatch, fault, lambda: 0.5)
    moments = 0
    for kill_at in range(1, 10_000):
        aws = FakeAws(fault=fault)
        state.update(count=0, kill_at=kill_at)
        path = tmp_path / f"{kill_at}.jsonl"
        kills = run_until_done(aws, path, 3)
        check(aws, path, 3)
        if kills == 0:
            break
        moments += 1
    assert moments > 40


def test_job_in_doubt_is_sent_again_only_after_it_can_no_longer_wait_or_run(tmp_path: Path) -> None:
    sends: list[float] = []

    def fault(name: str, when: str) -> None:
        if name == "invoke" and when == "before":
            sends.append(aws.now)
            if len(sends) == 1:
                raise ReadTimeoutError(endpoint_url="x")  # lost on its way to AWS; the client cannot know

    aws = FakeAws(fault=fault)
    run_once(aws, tmp_path / "j", 1)
    check(aws, tmp_path / "j", 1)
    assert sends[1] - sends[0] >= LIMITS.ttl + LIMITS.time_limit + LIMITS.margin


def test_naive_client_that_sends_again_at_once_would_generate_twice(tmp_path: Path) -> None:
    """The simulation must be able to fail: without the wait, it does."""
    lost: list[str] = []

    def fault(name: str, when: str) -> None:
        if name == "invoke" and when == "after" and not lost:
            lost.append("answer")
            raise ReadTimeoutError(endpoint_url="x")

    aws = FakeAws(fault=fault, seconds=20)
    with Journal(tmp_path / "j") as journal:
        limits = Limits(ttl=600, time_limit=0, margin=-599)
        runner = Runner(Transport(STACK, aws.clients), journal, limits, clock=aws.clock, sleep=aws.sleep)
        list(runner.run(jobs(1)))
    aws.sleep(100)
    aws.sleep(100)
    assert max(aws.generated.values()) == 2
