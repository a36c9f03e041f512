"""Short soak tests: 60 mixed requests while the worker is killed twice, hangs once, and loses its log for a while; and
20 prompts through the client and the embedded AWS while the worker is killed.
"""

from pathlib import Path

import pytest

from musicgen_client import Clip, Outcome, Request
from musicgen_client.errors import RequestFailed
from soak import prompts
from soak.__main__ import run
from soak.cases import random_cases


def test_answers_every_request_correctly_while_the_worker_is_killed_hangs_and_cannot_log(
    staged_musicgen: Path, tmp_path: Path, one_thread: None
) -> None:
    report = run(staged_musicgen, tmp_path, random_cases(60, seed=1), kills=2)
    assert report.failures == []
    assert set(report.statuses) == {200, 422}
    assert sum(report.statuses.values()) == 60
    assert (report.starts, report.hung) == (4, 1)
    assert report.lost_lines > 0


@pytest.mark.timeout(600)
def test_every_prompt_through_the_client_has_one_correct_result_while_the_worker_is_killed(
    staged_musicgen: Path, tmp_path: Path, one_thread: None
) -> None:
    report = prompts.run(staged_musicgen, tmp_path, prompts.random_requests(20, seed=1), kills=1)
    assert report.failures == []
    assert (report.results, report.killed, report.starts) == (20, 1, 2)
    assert report.redeliveries >= 1


def test_lost_repeated_and_exchanged_results_are_found(staged_musicgen: Path, one_thread: None) -> None:
    lost, repeated, exchanged, noise, failed = requests = prompts.random_requests(5, seed=1)

    def outcome(request: Request, seed: int | None) -> Outcome:
        return Outcome("id", request, (Clip(b"noise", request.texts[0], seed or 0, 32_000, 1.0, "id", 0),))

    outcomes = [outcome(repeated, repeated.seed), outcome(repeated, repeated.seed), outcome(exchanged, lost.seed)]
    outcomes += [outcome(noise, noise.seed), Outcome("id", failed, error=RequestFailed("out of memory"))]
    failures = prompts.wrong_results(staged_musicgen, requests, outcomes)
    words = ("got []", "got ['a clip', 'a clip']", "got the prompts and seeds", "the audio differs", "out of memory")
    assert len(failures) == 5
    assert all(word in failure for word, failure in zip(words, failures, strict=True)), failures
