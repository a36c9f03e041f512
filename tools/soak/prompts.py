"""Send prompts through musicgen_client and the embedded AWS to the real serving stack, and kill its worker in between.

Every prompt must have exactly one result, with the same audio as when generated alone. `make soak-prompts` runs it.
"""

import argparse
import hashlib
import json
import random
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3

from local_aws.emulator.account import ROOT_ACCESS_KEY_ID, ROOT_SECRET_ACCESS_KEY
from local_aws.emulator.process import LocalAws
from musicgen_client import MusicGen, Outcome, Request
from musicgen_client.aws import connect
from musicgen_client.history import History
from musicgen_client.journal import SENDING
from musicgen_serving.http.negotiation import JSON
from soak.cases import TEXTS, Case, expected_digests
from soak.embedded_endpoint import STACK, EmbeddedEndpoint, embedded_endpoint

_NAME = "prompts"
_WINDOW = 64  # requests in flight: the endpoint's queue is never empty when the worker is killed
_KILL_SECONDS = 600.0  # until a kill is due


@dataclass
class Report:
    """The result; `failures` has one line per prompt that was lost, repeated or answered with another one's music."""

    results: int = 0
    killed: int = 0
    starts: int = 0  # of workers
    redeliveries: int = 0
    seconds: float = 0.0  # from the first request to the last result
    failures: list[str] = field(default_factory=list[str])


def random_requests(count: int, seed: int) -> list[Request]:
    """Draw requests of one short clip each; no two have the same prompt."""
    rng = random.Random(seed)
    return [
        Request(texts=(f"{rng.choice(TEXTS)} {index}",), duration=rng.randint(2, 25) / 10, seed=rng.randrange(2**32))
        for index in range(count)
    ]


def run(staged: Path, state: Path, requests: list[Request], kills: int) -> Report:
    """Send all requests, kill the worker `kills` times, spread evenly over the results, and check every result."""
    with embedded_endpoint(staged, state / "aws") as endpoint:
        clients = connect(endpoint.aws.region, _Session(endpoint.aws))
        music = MusicGen(STACK, clients=clients, history=History(STACK, state / "journals"))
        report, started = Report(), time.monotonic()
        # By the container's log: the client learns of a result only when it polls, perhaps after the last generation.
        with ThreadPoolExecutor(1) as killer:
            killing = killer.submit(_kill, endpoint, len(requests), kills)
            outcomes = list(music.generate_many(requests, name=_NAME, window=_WINDOW))
            report.killed = killing.result()
        report.seconds = time.monotonic() - started
        report.starts, report.redeliveries = len(endpoint.events("start")), endpoint.redeliveries()
        results, wavs, failed = (endpoint.keys(prefix) for prefix in ("results/", "audio/", "failures/"))
    report.results = sum(outcome.error is None for outcome in outcomes)
    report.failures = wrong_results(staged, requests, outcomes)
    sends = _sends(music.history.of_batch(_NAME))
    for what, found in (("results", len(results)), ("WAV files", len(wavs)), ("sends", sends)):
        if found != len(requests):
            report.failures.append(f"{len(requests)} {what} expected, got {found}")
    if failed:
        report.failures.append(f"no failure object expected, got {failed}")
    if (report.killed, report.starts) != (kills, kills + 1) or (kills and not report.redeliveries):
        report.failures.append(
            f"{kills} kills must give {kills + 1} starts and interrupt a request, got {report.killed} kills, "
            f"{report.starts} starts, {report.redeliveries} requests delivered again"
        )
    return report


def _kill(endpoint: EmbeddedEndpoint, requests: int, kills: int) -> int:
    """Kill the worker `kills` times, evenly spread over the answered requests; return the number of kills."""
    for kill in range(kills):
        deadline = time.monotonic() + _KILL_SECONDS
        while len(endpoint.events("invocation")) < (kill + 1) * requests // (kills + 1):
            if time.monotonic() > deadline:
                return kill
            time.sleep(0.05)
        endpoint.kill_worker()
    return kills


class _Session:
    """What `connect` needs of a boto3 session, with the embedded AWS in place of AWS."""

    def __init__(self, aws: LocalAws) -> None:
        session: Any = boto3.Session(ROOT_ACCESS_KEY_ID, ROOT_SECRET_ACCESS_KEY)  # untyped: services are variables here
        self._aws, self._session = aws, session

    def client(self, service: str, **options: Any) -> Any:
        return self._session.client(
            service, endpoint_url=self._aws.endpoint_url, verify=str(self._aws.ca_bundle), **options
        )


def wrong_results(staged: Path, requests: list[Request], outcomes: list[Outcome]) -> list[str]:
    """Return a line for each request without exactly one outcome, or with another's prompt, seed or audio."""
    found: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        found.setdefault(outcome.request.texts[0], []).append(outcome)
    cases = [Case("", json.loads(request.body()), JSON) for request in requests]
    failures = [f"a result for {text!r}, which was not sent" for text in found.keys() - {r.texts[0] for r in requests}]
    for request, digests in zip(requests, expected_digests(staged, cases), strict=True):
        text, own = request.texts[0], found.get(request.texts[0], [])
        if len(own) != 1 or own[0].error is not None:
            failures.append(f"{text!r}: one result expected, got {[str(o.error or 'a clip') for o in own]}")
            continue
        clips = own[0].clips
        if [(clip.prompt, clip.seed) for clip in clips] != [(text, request.seed)]:
            failures.append(f"{text!r}: got the prompts and seeds {[(clip.prompt, clip.seed) for clip in clips]}")
        elif [hashlib.sha256(clip.wav).hexdigest() for clip in clips] != digests:
            failures.append(f"{text!r}: the audio differs from the same request's when run alone")
    return failures


def _sends(journal: Path) -> int:
    """Return how often the client called InvokeEndpointAsync."""
    events = Counter(json.loads(line)["event"] for line in journal.read_text(encoding="utf-8").splitlines())
    return events[SENDING]


def main() -> None:
    """Run it and print the figures; exit with 1 if any prompt's result was wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, default=200)
    parser.add_argument("--kills", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    from local_aws.hub.tiny_model import make_tiny_musicgen, write_manifest

    with tempfile.TemporaryDirectory() as temporary:
        staged = Path(temporary) / "staged"
        make_tiny_musicgen(staged)
        write_manifest(staged)
        report = run(staged, Path(temporary), random_requests(options.prompts, options.seed), options.kills)
    for line in report.failures:
        print(line)
    print(
        f"soak: prompts={options.prompts} results={report.results} wrong={len(report.failures)} kills={report.killed} "
        f"starts={report.starts} redeliveries={report.redeliveries} seconds={report.seconds:.0f}"
    )
    sys.exit(1 if report.failures else 0)


if __name__ == "__main__":
    main()
