"""Run the soak test: mixed requests to a real instance whose worker is killed in between, beside slow clients.

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
from soak.mms_instance import MmsInstance, loopback_s3
from soak.slow_clients import slow_clients

CALLERS = 6  # more than the instance's limit of four, so that some are refused with 503
TIMEOUT_SECONDS = 180.0


@dataclass
class Outcome:
    """The final response to one request: its status, the SHA-256 of its clips, and the number of sends."""

    status: int
    digests: list[str]
    sends: int


@dataclass
class Report:
    """The soak test's result; `failures` has one line per wrong response."""

    starts: int
    sends: int = 0
    statuses: Counter[int] = field(default_factory=Counter[int])
    failures: list[str] = field(default_factory=list[str])


def run(staged: Path, base: Path, cases: list[Case], kills: int) -> Report:
    """Send the cases from several threads, kill the worker `kills` times in between, and check every response."""
    with loopback_s3() as (address, s3):
        instance = MmsInstance(base, staged, address)
        try:
            done = threading.Semaphore(0)
            with slow_clients(instance.client.port), ThreadPoolExecutor(CALLERS) as callers:
                futures = [callers.submit(_send_until_answered, instance, s3, case) for case in cases]
                for future in futures:
                    future.add_done_callback(lambda _: done.release())
                for _ in range(kills):
                    for _ in range(len(cases) // (kills + 1)):
                        done.acquire()
                    instance.wait_for_ping()
                    instance.kill_worker()
            starts = instance.events("start")[-1]["starts"]
        finally:
            instance.stop()
    report = Report(starts)
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
        f"statuses={statuses} sends={report.sends} starts={report.starts} seconds={time.monotonic() - started:.0f}"
    )
    sys.exit(1 if report.failures else 0)


if __name__ == "__main__":
    main()
