"""Test that a process that has stopped producing says why, answers /ping with 503 and ends."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from musicgen_serving.engine import watchdog
from musicgen_serving.engine.watchdog import Heartbeat, Watchdog, stacks
from soak.container_client import ContainerClient

HUNG_SERVER = Path(__file__).parents[1] / "helpers/hung_server.py"
HANGS = {"step": ("engine", 1, 0), "encode": ("engine", 0, 1), "decode": ("codec", 0, 0)}
"""Calls that never return: the worker that hangs, and what it has in flight and is admitting then."""


def aged(worker: str, seconds: float) -> Heartbeat:
    heartbeat = Heartbeat(worker)
    heartbeat.beat()
    heartbeat._last = time.monotonic() - seconds  # pyright: ignore[reportPrivateUsage]
    return heartbeat


def test_a_heartbeat_ages_only_while_there_is_work() -> None:
    heartbeat = aged("engine", 9)
    assert 9 <= heartbeat.age < 10
    heartbeat.beat()
    assert heartbeat.age < 1
    heartbeat = aged("engine", 9)
    heartbeat.renew()
    assert heartbeat.age < 1
    heartbeat.rest()
    heartbeat.renew()
    assert heartbeat.age == 0
    with pytest.raises(ValueError, match="wrong"), heartbeat.working():
        raise ValueError("wrong")
    assert heartbeat.age == 0


@pytest.mark.parametrize(("age", "healthy"), [(0, True), (49, True), (51, False)])
def test_is_unhealthy_from_half_of_the_limit(age: float, healthy: bool, memory_log: Any) -> None:
    heartbeats = (Heartbeat("engine"), aged("codec", age))
    dog = Watchdog(heartbeats, 100, describe=dict, log=memory_log.log, on_death=lambda: None)
    assert dog.healthy == healthy


@pytest.fixture
def started(memory_log: Any) -> Iterator[Any]:
    """Return a function that starts a watchdog with a limit of 1 s, and says when it ends the process."""
    dogs: list[Watchdog] = []

    def start(*heartbeats: Heartbeat, log: Any = None) -> threading.Event:
        ended = threading.Event()
        dog = Watchdog(heartbeats, 1, describe=lambda: {"in_flight": 2}, log=log or memory_log.log, on_death=ended.set)
        dogs.append(dog)
        dog.start()
        return ended

    yield start
    for dog in dogs:
        dog.stop()


def test_ends_the_process_with_one_line_that_says_what_hangs_and_where(started: Any, memory_log: Any) -> None:
    assert started(Heartbeat("engine"), aged("codec", 5)).wait(30)
    (line,) = memory_log.events("hung")
    assert (line["worker"], line["limit_seconds"], line["in_flight"]) == ("codec", 1, 2)
    assert line["seconds"] >= 5
    (main,) = [frames for name, frames in line["stacks"].items() if name.startswith("MainThread")]
    assert any("test_watchdog.py" in frame for frame in main)


def test_does_not_end_a_process_that_beats_or_rests(started: Any) -> None:
    beating = Heartbeat("engine")
    ended = started(beating, Heartbeat("codec"))
    for _ in range(25):
        beating.beat()
        assert not ended.wait(0.1)


def test_ends_the_process_although_the_log_blocks(started: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watchdog, "LAST_LOG_SECONDS", 0.1)
    read = threading.Event()

    class BlockedLog:
        def write(self, event: str, **fields: object) -> None:
            read.wait(30)

    assert started(aged("engine", 5), log=BlockedLog()).wait(20)
    read.set()


def test_ends_the_process_although_no_thread_can_be_started(started: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    ended = threading.Event()

    def no_thread(**_: Any) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading, "Thread", no_thread)
    with pytest.raises(RuntimeError, match="can't start new thread"):
        watchdog.end_process(lambda: None, ended.set)
    assert ended.is_set()


def test_stacks_name_threads_and_list_the_innermost_call_last() -> None:
    inside, leave = threading.Event(), threading.Event()

    def hold_here() -> None:
        inside.set()
        leave.wait(30)

    thread = threading.Thread(target=hold_here, name="holder")
    thread.start()
    inside.wait(30)
    (frames,) = [frames for name, frames in stacks().items() if name.startswith("holder")]
    leave.set()
    thread.join()
    calls = [frame.rsplit(" ", 1)[1] for frame in frames]
    assert calls.index("hold_here") < calls.index("wait")


@pytest.fixture(scope="module")
def hung_servers(staged_musicgen: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Serve in three processes, each of which will hang in another call; return the folder of their files."""
    folder = tmp_path_factory.mktemp("hung")
    command = [sys.executable, str(HUNG_SERVER), str(staged_musicgen), str(folder), *HANGS]
    with subprocess.Popen(command, start_new_session=True) as process:
        yield folder
        with contextlib.suppress(ProcessLookupError):  # all have ended
            os.killpg(process.pid, signal.SIGKILL)


def number_in(path: Path) -> int:
    """Return the number in a file as soon as there is one."""
    deadline = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < deadline, f"no {path.name} after 60 s"
        time.sleep(0.02)
    return int(path.read_text(encoding="ascii"))


@pytest.mark.parametrize("hang", HANGS)
def test_a_call_that_never_returns_ends_the_worker_and_its_connections(hang: str, hung_servers: Path) -> None:
    worker, in_flight, admitting = HANGS[hang]
    ended = hung_servers / f"{hang}.status"
    client = ContainerClient(number_in(hung_servers / f"{hang}.port"))
    assert client.send("GET", "/ping").status == 200
    outcome: list[BaseException] = []

    def invoke() -> None:
        try:
            client.invoke({"texts": ["calm piano"], "generation_params": {"max_new_tokens": 40}})
        except (ConnectionError, EOFError) as error:
            outcome.append(error)

    waiting = threading.Thread(target=invoke)
    waiting.start()
    statuses: set[int] = set()
    while not ended.exists() and 503 not in statuses:
        try:
            statuses.add(client.send("GET", "/ping").status)
        except (ConnectionError, EOFError):
            break
        time.sleep(0.05)
    assert number_in(ended) == 1
    waiting.join(60)
    assert 503 in statuses
    assert len(outcome) == 1, "the connection of the waiting request must be closed without an answer"
    log = (hung_servers / f"{hang}.log").read_text(encoding="utf-8").splitlines()
    (line,) = [line for line in map(json.loads, log) if line["event"] == "hung"]
    assert line["worker"] == worker and 4 <= line["seconds"] < 30
    assert (line["in_flight"], line["admitting"]) == (in_flight, admitting)
    assert all(re.fullmatch(r"10 of 40", position) for position in line["positions"])
    (frames,) = [frames for name, frames in line["stacks"].items() if name.startswith(worker)]
    assert any(frame.endswith(" hang") for frame in frames)
