"""A short soak test: 60 mixed requests while the worker is killed twice, hangs once, and loses its log for a while."""

from pathlib import Path

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
