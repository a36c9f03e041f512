"""A sample of the soak: 60 mixed requests, the worker killed twice, each request answered once and right."""

from pathlib import Path

from soak.__main__ import run
from soak.cases import drawn


def test_every_request_is_answered_rightly_although_the_worker_is_killed(
    staged_musicgen: Path, tmp_path: Path, one_thread: None
) -> None:
    report = run(staged_musicgen, tmp_path, drawn(60, seed=1), kills=2)
    assert report.wrong == []
    assert set(report.statuses) == {200, 422}
    assert sum(report.statuses.values()) == 60
    assert report.starts == 3
