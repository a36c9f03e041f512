"""The staging protocol in thousands of seeded schedules, each of which must leave the correct objects or none."""

import os
import subprocess
import sys
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

import pytest

from stage_model.custom_resource import earlier_requests, lifecycle
from stage_model.custom_resource.run_record import Lease, RunRecord
from stage_model.s3 import Store
from stage_model.upload.stager import StagingContext
from staging_simulation.schedule import Schedule, describe, violations

# In chunks, so that a failure shows early; no more, as the nightly `make simulate` runs 100,000 others.
_SCHEDULES = 2500
_CHUNKS = 10
_ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("chunk", range(_CHUNKS))
def test_every_schedule_leaves_the_correct_objects_or_none(chunk: int) -> None:
    size = _SCHEDULES // _CHUNKS
    assert violations(range(chunk * size, (chunk + 1) * size)) == []


@pytest.mark.parametrize("seed", [11459, 36044, 84793, 91532, 1702999, 1713765])
def test_schedules_that_once_failed_pass(seed: int) -> None:
    Schedule(seed).run()


def test_a_seed_always_gives_the_same_trace() -> None:
    assert describe(41) == describe(41)


def test_the_command_runs_the_requested_schedules() -> None:
    command = [sys.executable, "-m", "staging_simulation", "--schedules", "30", "--first", "7"]
    environment = {**os.environ, "PYTHONPATH": f"{_ROOT / 'lambda'}:{_ROOT / 'tools'}"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("30 schedules passed, from seed 7\n", "")


def first_violations(schedules: int) -> list[str]:
    """Return the first violations that so many schedules find."""
    for start in range(0, schedules, 20):
        if found := violations(range(start, start + 20)):
            return found
    return []


def do_nothing(*_: object) -> None:
    """Replace a step that is left out."""


def test_it_detects_a_later_request_that_leaves_earlier_ones_running(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lifecycle, "end_earlier_requests", do_nothing)
    wrong = first_violations(400)
    assert wrong
    assert all("reproduce: python -m staging_simulation --seed " in line for line in wrong)


def test_it_detects_a_delete_that_leaves_unacknowledged_models(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lifecycle, "delete_unacknowledged", do_nothing)
    assert first_violations(800)


def test_it_detects_a_request_that_deletes_models_which_were_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    def delete_all_others(context: StagingContext, key_prefix: str, own: RunRecord, known: Collection[str]) -> None:
        for _, record in earlier_requests._other_requests(context, key_prefix, own):  # pyright: ignore[reportPrivateUsage]
            physical_id = (record.answer or {}).get("physical_id", "")
            if physical_id not in known and earlier_requests.is_model(key_prefix, physical_id):
                context.delete_model(physical_id)

    monkeypatch.setattr(lifecycle, "delete_unacknowledged", delete_all_others)
    wrong = violations(range(100))
    assert [line for line in wrong if "the live model" in line]


def test_it_detects_unconditional_record_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    def overwrite(self: Lease, *_: object, **changes: object) -> None:
        self.record = replace(self.record, **changes)
        objects: Store = self._store  # pyright: ignore[reportPrivateUsage] - breaks it on purpose
        found = objects.read(self._key)  # pyright: ignore[reportPrivateUsage]
        objects.write(self._key, self.record.to_bytes(), found.etag if found else None)  # pyright: ignore[reportPrivateUsage]

    monkeypatch.setattr(Lease, "save", overwrite)
    assert first_violations(400)
