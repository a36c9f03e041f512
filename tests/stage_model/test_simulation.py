"""The staging protocol in thousands of seeded schedules, each ending in the right objects or in none."""

from dataclasses import replace

import pytest
from staging_simulation.schedule import Schedule, Violation, describe

import stage_model.lifecycle
import stage_model.service
from stage_model.lease import Lease
from stage_model.store import Objects

# Ten at a time, so that a failing one is found soon; `python -m staging_simulation --schedules 100000` runs at night.
_SCHEDULES = 5000
_CHUNKS = 20


@pytest.mark.parametrize("chunk", range(_CHUNKS))
def test_every_schedule_ends_in_the_right_objects_or_none(chunk: int) -> None:
    size = _SCHEDULES // _CHUNKS
    for seed in range(chunk * size, (chunk + 1) * size):
        Schedule(seed).run()


@pytest.mark.parametrize("seed", [11459, 36044, 84793, 91532])
def test_schedules_that_once_ended_wrongly_end_well(seed: int) -> None:
    Schedule(seed).run()


def test_a_seed_always_tells_the_same_story() -> None:
    assert describe(41) == describe(41)


def do_nothing(*_: object) -> None:
    """Stand in for a step that is left out."""


def violations(schedules: int) -> int:
    """Return how many of the first schedules end wrongly."""
    count = 0
    for seed in range(schedules):
        try:
            Schedule(seed).run()
        except Violation:
            count += 1
    return count


def test_it_notices_a_later_request_that_leaves_earlier_ones_running(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage_model.service, "end_other_runs", do_nothing)
    assert violations(400) > 0


def test_it_notices_a_delete_that_leaves_what_nobody_heard_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage_model.lifecycle, "remove_unheard", do_nothing)
    assert violations(800) > 0


def test_it_notices_records_that_are_replaced_without_looking(monkeypatch: pytest.MonkeyPatch) -> None:
    def overwrite(self: Lease, *_: object, **changes: object) -> None:
        self.record = replace(self.record, **changes)  # pyright: ignore[reportArgumentType] - any field
        objects: Objects = self._objects  # pyright: ignore[reportPrivateUsage] - breaks it on purpose
        found = objects.read(self._key)  # pyright: ignore[reportPrivateUsage]
        objects.write(self._key, self.record.to_bytes(), found.etag if found else None)  # pyright: ignore[reportPrivateUsage]

    monkeypatch.setattr(Lease, "save", overwrite)
    assert violations(400) > 0
