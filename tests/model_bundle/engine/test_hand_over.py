"""The host runs a few steps ahead of a device and never waits for it before it must."""

from dataclasses import dataclass
from typing import Any

import pytest
import torch

from musicgen_serving.engine.clip import Request
from musicgen_serving.engine.errors import NonFiniteError
from musicgen_serving.engine.hand_over import HandOver
from musicgen_serving.engine.pace import Pace, marker
from musicgen_serving.engine.sampling_params import ClipSpec, SamplingParams
from musicgen_serving.engine.waiting import Job

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


def job() -> Job:
    return Job(Request([ClipSpec("", 0, SamplingParams())], [[1]]), 0)


def test_the_host_waits_for_the_step_so_many_before_and_for_no_other() -> None:
    device = Device()
    pace = Pace(device.mark, ahead=3)
    for _ in range(10):
        pace()
    assert device.given == 10
    assert device.waits == [1, 2, 3, 4, 5, 6, 7]


def test_a_cpu_has_done_its_work_when_the_call_ends() -> None:
    assert marker(torch.device("cpu"))() is None
    Pace(marker(torch.device("cpu")), ahead=0)()


def test_clips_are_handed_over_when_the_device_has_come_to_them_and_not_waited_for() -> None:
    device, first, second = Device(), job(), job()
    hand_over = HandOver(device.mark)
    for one in (first, second):
        hand_over.add(one, CODES, torch.tensor(False))
    hand_over.deliver(wait=False)
    assert not first.ticket.over and hand_over.jobs == [first, second]
    device.done = 1
    hand_over.deliver(wait=False)
    assert torch.equal(first.ticket.wait()[0], CODES)
    assert not second.ticket.over and hand_over.jobs == [second]
    assert device.waits == []
    hand_over.deliver(wait=True)
    assert second.ticket.over and device.waits == [2] and hand_over.jobs == []


def test_whether_a_clip_is_broken_is_read_when_it_left_its_slot() -> None:
    device, good, bad = Device(), job(), job()
    hand_over, broken = HandOver(device.mark), torch.tensor([False, True])
    hand_over.add(good, CODES, broken[0])
    hand_over.add(bad, CODES, broken[1])
    broken.logical_not_()  # the slots' next clips
    hand_over.deliver(wait=True)
    assert len(good.ticket.wait()) == 1
    with pytest.raises(NonFiniteError):
        bad.ticket.wait()


def test_a_batch_steps_on_while_a_finished_clip_is_on_its_way(mono: Any) -> None:
    from musicgen_serving.engine.batch import Batch

    device = Device()
    batch = Batch(mono.loop(slots=2), 32, device.mark)
    jobs = [Job(Request([ClipSpec("", 0, SamplingParams(max_new_tokens=count))], [[1] * 11]), 0) for count in (8, 20)]
    for one in jobs:
        batch.admit(one, mono.states(0))
    for _ in range(12):
        batch.step()
        batch.collect()
    assert not jobs[0].ticket.over and batch.jobs == jobs and len(batch.occupants) == 1
    while batch.occupants:
        batch.step()
        batch.collect()
    assert all(one.ticket.over for one in jobs) and batch.jobs == []
    assert device.waits == [1, 2]  # only when nothing was left to step
