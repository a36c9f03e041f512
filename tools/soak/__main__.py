"""Run the soak test: mixed requests and slow clients, to an instance whose worker is killed, hangs and loses its log.

Each request must be answered exactly once, valid ones with the same audio as when they run alone.
"""

import argparse
import hashlib
import sys
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from soak.cases import Case, expected_digests, random_cases
from soak.faulty_service import BREAK_LOG, HANG
from soak.mms_instance import MmsInstance, loopback_s3
from soak.slow_clients import slow_clients

CALLERS = 6  # more than the instance's limit of four, so that some are refused with 503
TIMEOUT_SECONDS = 180.0
HANG_SECONDS = 20  # far above any step of the tiny model on a busy machine


@dataclass
class Outcome:
    """The final response to one request: its status, the SHA-256 of its clips, and the number of sends."""

    status: int
    digests: list[str]
    sends: int


class FaultyInstance(MmsInstance):
    """An instance whose worker hangs or loses its log on request."""

    service = "soak.faulty_service"

    def _environment(self, s3_address: str) -> dict[str, str]:
        environment = super()._environment(s3_address) | {"MUSICGEN_HANG_SECONDS": str(HANG_SECONDS)}
        environment["PYTHONPATH"] += str(Path(__file__).parents[1])
        return environment


@dataclass
class Report:
    """The soak test's result; `failures` has one line per wrong response."""

    starts: int
    hung: int  # log lines that say so
    lost_lines: int  # of the log
    sends: int = 0
    statuses: Counter[int] = field(default_factory=Counter[int])
    failures: list[str] = field(default_factory=list[str])


def run(staged: Path, base: Path, cases: list[Case], kills: int) -> Report:
    """Send the cases from several threads and check every response; in between, kill the worker `kills` times.

    From the start until the first kill the log is broken, and after the last kill one step never returns.
    """
    with loopback_s3() as (address, s3):
        instance = FaultyInstance(base, staged, address)
        try:
            (base / BREAK_LOG).touch()
            done = threading.Semaphore(0)
            with slow_clients(instance.client.port), ThreadPoolExecutor(CALLERS) as callers:
                futures = [callers.submit(_send_until_answered, instance, s3, case) for case in cases]
                for future in futures:
                    future.add_done_callback(lambda _: done.release())
                for kill in range(kills):
                    for _ in range(len(cases) // (kills + 1)):
                        done.acquire()
                    instance.wait_for_ping()
                    if kill == 0:
                        (base / BREAK_LOG).unlink()
                        instance.client.invoke({"texts": []})  # whose log line has the number of lost ones
                    instance.kill_worker()
                instance.wait_for_ping()
                (base / HANG).touch()
            starts, hung = instance.events("start")[-1]["starts"], len(instance.events("hung"))
            lost_lines = sum(
                line.get("lost_lines", 0) for name in ("invocation", "engine") for line in instance.events(name)
            )
        finally:
            instance.stop()
    report = Report(starts, hung, lost_lines)
    if hung != 1 or starts != kills + 2:
        report.failures.append(f"one hung worker and {kills + 2} starts expected, got {hung} and {starts}")
    if not lost_lines:
        report.failures.append("the broken log must have lost lines, got none")
    for case, future, digests in zip(cases, futures, expected_digests(staged, cases), strict=True):
        outcome = future.result()
        report.statuses[outcome.status] += 1
        report.sends += outcome.sends
        status = 200 if case.valid else 422
        if outcome.status != status:
            report.failures.append(f"{case.inference_id}: expected status {status}, got {outcome.status}")
        elif outcome.digests != digests:
            report.failures.append(f"{case.inference_id}: the audio differs from the same request's when run alone")
    return report


def _send_until_answered(instance: MmsInstance, s3: Any, case: Case) -> Outcome:
    """Retry after a broken connection or a 503, as SageMaker does; status 0 after the timeout."""
    deadline, sends = time.monotonic() + TIMEOUT_SECONDS, 0
    while time.monotonic() < deadline:
        sends += 1
        try:
            response = instance.client.invoke(
                case.body, Accept=case.accept, X_Amzn_SageMaker_Inference_Id=case.inference_id
            )
        except (ConnectionError, EOFError):
            time.sleep(0.1)
            continue
        if response.status == 503:
            time.sleep(0.05)
            continue
        clips: list[bytes] = []
        if response.status == 200 and case.accept == "audio/wav":
            clips = [response.body]
        elif response.status == 200:
            keys = [url.removeprefix("s3://out/") for url in response.json["generated_outputs_s3"]]
            clips = [s3.get_object(Bucket="out", Key=key)["Body"].read() for key in keys]
        return Outcome(response.status, [hashlib.sha256(clip).hexdigest() for clip in clips], sends)
    return Outcome(0, [], sends)


def main() -> None:
    """Run the soak test and print its report; exit with 1 if any response was wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=500)
    parser.add_argument("--kills", type=int, default=12)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    from local_aws.hub.tiny_model import make_tiny_musicgen, write_manifest

    with tempfile.TemporaryDirectory() as temporary:
        staged, base = Path(temporary) / "staged", Path(temporary) / "base"
        make_tiny_musicgen(staged)
        base.mkdir()
        write_manifest(staged)
        started = time.monotonic()
        report = run(staged, base, random_cases(options.requests, options.seed), options.kills)
    for line in report.failures:
        print(line)
    statuses = " ".join(f"{status}:{count}" for status, count in sorted(report.statuses.items()))
    print(
        f"soak: requests={options.requests} answered={sum(report.statuses.values())} wrong={len(report.failures)} "
        f"statuses={statuses} sends={report.sends} starts={report.starts} hung={report.hung} "
        f"lost_lines={report.lost_lines} seconds={time.monotonic() - started:.0f}"
    )
    sys.exit(1 if report.failures else 0)


if __name__ == "__main__":
    main()
