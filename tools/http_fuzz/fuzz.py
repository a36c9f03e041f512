"""Send generated cases to a server in another process; check each response, `/ping`, log and memory."""

import json
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import psutil

from http_fuzz.grammar import Case, generate
from http_fuzz.raw_http import InvalidResponseError, ping, read_until_closed, split_responses

CLIENTS = 8
HANG_SECONDS = 20.0  # far above all of the server's times
FAULTS = ("fault", "connection_fault", "server_died")


@dataclass
class Report:
    """What a run saw."""

    requests: int = 0
    statuses: Counter[int] = field(default_factory=Counter[int])
    failures: list[str] = field(default_factory=list[str])
    rss_early: int = 0  # bytes
    rss_late: int = 0
    threads: int = 0

    @property
    def growth(self) -> float:
        """The growth of memory between the first measurement and the end, as a fraction."""
        return self.rss_late / self.rss_early - 1


@contextmanager
def server_process(folder: Path) -> Generator[tuple[psutil.Process, int, Path]]:
    """Run the server in a child process; yield it, its port and its log."""
    log = folder / "server.log"
    command = [sys.executable, "-m", "http_fuzz.serve", str(log)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin
        assert process.stdout
        try:
            yield psutil.Process(process.pid), int(process.stdout.readline()), log
        finally:
            process.stdin.close()
            process.wait(30)


def run(folder: Path, requests: int, seed: int, early: int) -> Report:
    """Send at least `requests` requests from CLIENTS threads; measure memory after `early` of them and at the end."""
    report, numbers, lock = Report(), count(), threading.Lock()
    with server_process(folder) as (process, port, log):

        def send_cases(until: int) -> None:
            while True:
                with lock:
                    if report.requests >= until:
                        return
                    number = next(numbers)
                    case = generate(seed, number)
                    report.requests += case.requests
                statuses, failure = check_case(port, case)
                with lock:
                    report.statuses.update(statuses)
                    if failure:
                        report.failures.append(f"seed {seed}, case {number}: {failure}")

        for until in (early, requests):
            threads = [threading.Thread(target=send_cases, args=(until,)) for _ in range(CLIENTS)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            report.rss_early, report.rss_late = report.rss_early or process.memory_info().rss, process.memory_info().rss
            if (status := ping(port)) != 200:
                report.failures.append(f"/ping returned {status} after {until} requests")
        report.threads = process.num_threads()
    lines = (json.loads(line) for line in log.read_text(encoding="utf-8").splitlines())
    report.failures += [json.dumps(line) for line in lines if line["event"] in FAULTS]
    return report


def check_case(port: int, case: Case) -> tuple[list[int], str | None]:
    """Send one case; return the statuses of its responses, and what is wrong with them."""
    with socket.create_connection(("127.0.0.1", port), timeout=HANG_SECONDS) as client:
        try:
            for packet in case.packets:
                client.sendall(packet)
            if case.half_close:
                client.shutdown(socket.SHUT_WR)
        except OSError:  # refused before all was sent; the response is still there to be read
            data, closed = read_until_closed(client, HANG_SECONDS)
        else:
            data, closed = read_until_closed(client, HANG_SECONDS)
    if not closed:
        return [], f"no end of the connection after {HANG_SECONDS:g} s, got {data[:200]!r}"
    try:
        responses, rest = split_responses(data, head_last=case.has_head_request)
    except (InvalidResponseError, ValueError, KeyError) as error:
        return [], f"{type(error).__name__}: {error}"
    statuses = [response.status for response in responses]
    if rest or 500 in statuses:
        return statuses, f"statuses {statuses}, and then {rest[:200]!r}"
    return statuses, None
