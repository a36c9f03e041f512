"""The host runs a few steps ahead of a device and never waits for it before it must."""

from dataclasses import dataclass
from typing import Any

import pytest
import torch

from musicgen_serving.engine.batch import Batch, CompletionQueue, event_recorder
from musicgen_serving.engine.engine import RunAheadLimiter
from musicgen_serving.engine.errors import NonFiniteError
from musicgen_serving.engine.sampling_params import ClipSpec, SamplingParams
from musicgen_serving.engine.scheduler import Request, Sequence

CODES = torch.zeros((4, 5), dtype=torch.long)


@dataclass
class Device:
    """A device that is told how far it has come; `waits` has the moments that the host waited for."""

    given: int = 0
    done: int = 0

    def __post_init__(self) -> None:
        self.waits: list[int] = []

    def mark(self) -> "Moment":
        self.given += 1
        return Moment(self, self.given)


@dataclass
class Moment:
    device: Device
    number: int

    def query(self) -> bool:
        return self.device.done >= self.number

    def synchronize(self) -> None:
        self.device.waits += [] if self.query() else [self.number]
        self.device.done = max(self.device.done, self.number)


def sequence() -> Sequence:
    return Sequence(Request([ClipSpec("", 0, SamplingParams())], [[1]]), 0)


def test_the_host_waits_only_for_the_step_that_many_steps_before() -> None:
    device = Device()
    limit = RunAheadLimiter(device.mark, steps=3)
    for _ in range(10):
        limit()
    assert device.given == 10
    assert device.waits == [1, 2, 3, 4, 5, 6, 7]


def test_a_cpu_has_finished_its_work_when_the_call_returns() -> None:
    assert event_recorder(torch.device("cpu"))() is None
    RunAheadLimiter(event_recorder(torch.device("cpu")), steps=0)()


def test_clips_complete_once_the_device_has_finished_them_without_waiting() -> None:
    device, first, second = Device(), sequence(), sequence()
    completions = CompletionQueue(device.mark)
    for one in (first, second):
        completions.add(one, CODES, torch.tensor(False))
    completions.complete(wait=False)
    assert not first.request.done and completions.sequences == [first, second]
    device.done = 1
    completions.complete(wait=False)
    assert torch.equal(first.request.wait()[0], CODES)
    assert not second.request.done and completions.sequences == [second]
    assert device.waits == []
    completions.complete(wait=True)
    assert second.request.done and device.waits == [2] and completions.sequences == []


def test_the_nonfinite_flag_is_read_as_it_was_when_the_clip_left_its_slot() -> None:
    device, good, bad = Device(), sequence(), sequence()
    completions, nonfinite = CompletionQueue(device.mark), torch.tensor([False, True])
    completions.add(good, CODES, nonfinite[0])
    completions.add(bad, CODES, nonfinite[1])
    nonfinite.logical_not_()  # the slots' next clips
    completions.complete(wait=True)
    assert len(good.request.wait()) == 1
    with pytest.raises(NonFiniteError):
        bad.request.wait()


def test_a_batch_keeps_stepping_while_a_finished_clip_is_pending(mono: Any) -> None:
    device = Device()
    batch = Batch(mono.loop(slots=2), 32, device.mark)
    sequences = [
        Sequence(Request([ClipSpec("", 0, SamplingParams(max_new_tokens=count))], [[1] * 11]), 0) for count in (8, 20)
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
    assert device.waits == [1, 2]  # only when nothing was left to step
