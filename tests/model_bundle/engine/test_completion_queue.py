"""Test that the host runs a few steps ahead of the device and waits for it only when it must."""

from dataclasses import dataclass
from typing import Any

import pytest
import torch

from musicgen_serving.engine.completion_queue import CompletionQueue, event_recorder
from musicgen_serving.engine.engine import RunAheadLimiter
from musicgen_serving.engine.errors import NonFiniteError
from musicgen_serving.engine.request import Request, Sequence
from musicgen_serving.engine.sampling_params import ClipSpec, SamplingParams
from musicgen_serving.engine.scheduler import Batch

CODES = torch.zeros((4, 5), dtype=torch.long)


@dataclass
class FakeDevice:
    """A fake device that has recorded `recorded` events and reached `reached`; `waits` lists events waited for."""

    recorded: int = 0
    reached: int = 0

    def __post_init__(self) -> None:
        self.waits: list[int] = []

    def record(self) -> "FakeEvent":
        self.recorded += 1
        return FakeEvent(self, self.recorded)


@dataclass
class FakeEvent:
    device: FakeDevice
    number: int

    def query(self) -> bool:
        return self.device.reached >= self.number

    def synchronize(self) -> None:
        self.device.waits += [] if self.query() else [self.number]
        self.device.reached = max(self.device.reached, self.number)


def sequence() -> Sequence:
    return Sequence(Request([ClipSpec("", 0, SamplingParams())], [[[1]]]), 0)


def test_the_host_waits_only_for_the_step_at_the_run_ahead_limit() -> None:
    device = FakeDevice()
    limit = RunAheadLimiter(device.record, steps=3)
    for _ in range(10):
        limit()
    assert device.recorded == 10
    assert device.waits == [1, 2, 3, 4, 5, 6, 7]


def test_no_events_are_recorded_on_a_cpu() -> None:
    assert event_recorder(torch.device("cpu"))() is None
    RunAheadLimiter(event_recorder(torch.device("cpu")), steps=0)()


def test_clips_complete_without_waiting_once_the_device_has_finished_them() -> None:
    device, first, second = FakeDevice(), sequence(), sequence()
    completions = CompletionQueue(device.record)
    for one in (first, second):
        completions.add(one, CODES, torch.tensor(False), last=True)
    completions.complete(wait=False)
    assert not first.request.done and completions.sequences == [first, second]
    device.reached = 1
    completions.complete(wait=False)
    assert torch.equal(first.request.wait()[0], CODES)
    assert not second.request.done and completions.sequences == [second]
    assert device.waits == []
    completions.complete(wait=True)
    assert second.request.done and device.waits == [2] and completions.sequences == []


def test_the_nonfinite_flag_is_that_of_the_time_when_the_clip_left_its_slot() -> None:
    device, good, bad = FakeDevice(), sequence(), sequence()
    completions, nonfinite = CompletionQueue(device.record), torch.tensor([False, True])
    completions.add(good, CODES, nonfinite[0], last=True)
    completions.add(bad, CODES, nonfinite[1], last=True)
    nonfinite.logical_not_()  # the slots' next clips
    completions.complete(wait=True)
    assert len(good.request.wait()) == 1
    with pytest.raises(NonFiniteError):
        bad.request.wait()


def test_a_batch_keeps_stepping_while_a_finished_clip_is_pending(mono: Any) -> None:
    device = FakeDevice()
    batch = Batch(mono.runner(slots=2), 32, device.record)
    sequences = [
        Sequence(Request([ClipSpec("", 0, SamplingParams(max_new_tokens=count))], [[[1] * 11]]), 0) for count in (8, 20)
    ]
    for one in sequences:
        batch.admit(one, mono.states(0))
    for _ in range(12):
        batch.step()
        batch.collect_finished()
    assert not sequences[0].request.done and batch.unfinished == sequences and len(batch.sequences) == 1
    while batch.sequences:
        batch.step()
        batch.collect_finished()
    assert all(one.request.done for one in sequences) and batch.unfinished == []
    assert device.waits == [1, 2]  # only once nothing was left to step
