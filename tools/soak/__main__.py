"""The soak: mixed requests against a real instance whose worker is killed in between, each answered once and right.

`make soak` runs it.
"""

import argparse
import hashlib
import json
import sys
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from soak.cases import Case, drawn, expected
from soak.mms_instance import MmsInstance, loopback_s3

CALLERS = 6  # more than the instance's four: some are always told to come again
PATIENCE_SECONDS = 180.0


@dataclass
class Outcome:
    """What came of one request; `tries` counts the sends that no answer or a 503 came back for, and the last."""

    status: int
    digests: list[str]
    tries: int


@dataclass
class Report:
    """What the soak found; `wrong` has one line for everything that was not right."""

    statuses: Counter[int] = field(default_factory=Counter[int])
    tries: int = 0
    starts: int = 0
    wrong: list[str] = field(default_factory=list[str])


def run(staged: Path, base: Path, cases: list[Case], kills: int) -> Report:
    """Send the cases from several threads, kill the worker `kills` times in between, and check every answer."""
    with loopback_s3() as (address, s3):
        instance = MmsInstance(base, staged, address)
        try:
            outcomes = _send_all(instance, s3, cases, kills)
            report = _checked(cases, outcomes, expected(staged, cases))
            report.starts = instance.events("start")[-1]["starts"]
            return report
        finally:
            instance.stop()


def _send_all(instance: MmsInstance, s3: Any, cases: list[Case], kills: int) -> list[Outcome]:
    done = threading.Semaphore(0)

    def send(case: Case) -> Outcome:
        try:
            return _send(instance, s3, case)
        finally:
            done.release()

    with ThreadPoolExecutor(CALLERS) as callers:
        futures = [callers.submit(send, case) for case in cases]
        for _ in range(kills):
            for _ in range(len(cases) // (kills + 1)):
                done.acquire()
            instance.wait_for_ping()
            instance.kill_worker()
        return [future.result() for future in futures]


def _send(instance: MmsInstance, s3: Any, case: Case) -> Outcome:
    """Send until answered, as SageMaker does: again after a broken connection or a 503."""
    end, tries = time.monotonic() + PATIENCE_SECONDS, 0
    while time.monotonic() < end:
        tries += 1
        try:
            answer = instance.client.invoke(
                case.body, Accept=case.accept, X_Amzn_SageMaker_Inference_Id=case.inference_id
            )
        except (OSError, EOFError, ValueError) as error:
            if not isinstance(error, ConnectionError | EOFError):
                raise
            time.sleep(0.1)
            continue
        if answer.status != 503:
            return Outcome(answer.status, _digests(s3, case, answer), tries)
        time.sleep(0.05)
    return Outcome(0, [], tries)


def _digests(s3: Any, case: Case, answer: Any) -> list[str]:
    """What was made: the body, or the objects that the response names."""
    if answer.status != 200:
        return []
    if case.accept == "audio/wav":
        return [hashlib.sha256(answer.body).hexdigest()]
    keys = [address.removeprefix("s3://out/") for address in answer.json["generated_outputs_s3"]]
    bodies = [s3.get_object(Bucket="out", Key=key)["Body"].read() for key in keys]
    return [hashlib.sha256(body).hexdigest() for body in bodies]


def _checked(cases: list[Case], outcomes: list[Outcome], all_digests: list[list[str]]) -> Report:
    report = Report()
    for case, outcome, digests in zip(cases, outcomes, all_digests, strict=True):
        report.statuses[outcome.status] += 1
        report.tries += outcome.tries
        wanted = 200 if case.valid else 422
        if outcome.status != wanted:
            report.wrong.append(f"{case.inference_id} must be answered with {wanted}, got {outcome.status}")
        elif outcome.digests != digests:
            report.wrong.append(f"{case.inference_id} must sound as it does alone, got other bytes")
    return report


def main() -> None:
    """Run the soak and print what it found; exit code 1 where anything was wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=500)
    parser.add_argument("--kills", type=int, default=12)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    from local_aws.hub.tiny_model import make_tiny_musicgen

    with tempfile.TemporaryDirectory() as temporary:
        staged, base = Path(temporary) / "staged", Path(temporary) / "base"
        make_tiny_musicgen(staged)
        base.mkdir()
        manifest = {"layout": 1, "model_id": "facebook/musicgen-small", "revision": "0" * 40}
        (staged / "musicgen-manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
        started = time.monotonic()
        report = run(staged, base, drawn(options.requests, options.seed), options.kills)
    for line in report.wrong:
        print(line)
    statuses = " ".join(f"{status}:{count}" for status, count in sorted(report.statuses.items()))
    print(
        f"soak: requests={options.requests} answered={sum(report.statuses.values())} wrong={len(report.wrong)} "
        f"statuses={statuses} sends={report.tries} starts={report.starts} seconds={time.monotonic() - started:.0f}"
    )
    sys.exit(1 if report.wrong else 0)


if __name__ == "__main__":
    main()
