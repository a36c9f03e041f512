"""Finished clips on their way to those who wait: the device is asked nothing before it has come so far by itself."""

from collections import deque
from dataclasses import dataclass

import torch

from musicgen_serving.engine.errors import NonFiniteError
from musicgen_serving.engine.pace import Event, MarkNow
from musicgen_serving.engine.waiting import Job


@dataclass(frozen=True)
class Finished:
    """A clip whose steps are all given to the device; `broken` can be read on the host after `when`."""

    job: Job
    codes: torch.Tensor
    broken: torch.Tensor
    when: Event | None


class HandOver:
    """Clips in the order in which they ended."""

    def __init__(self, mark: MarkNow) -> None:
        self._mark = mark
        self._finished: deque[Finished] = deque()

    @property
    def jobs(self) -> list[Job]:
        """What is still on its way."""
        return [one.job for one in self._finished]

    def add(self, job: Job, codes: torch.Tensor, broken: torch.Tensor) -> None:
        """Take a clip's codes [K, frames], and whether its logits were ever not finite, from their slot."""
        if broken.device.type == "cpu":
            on_host = broken.clone()
        else:
            on_host = torch.empty((), dtype=torch.bool, pin_memory=True)
            on_host.copy_(broken, non_blocking=True)
        self._finished.append(Finished(job, codes, on_host, self._mark()))

    def deliver(self, *, wait: bool) -> None:
        """Hand over what the device has come to; with `wait`, all there is."""
        while self._finished and (wait or _over(self._finished[0].when)):
            one = self._finished.popleft()
            if one.when is not None:
                one.when.synchronize()
            if bool(one.broken):
                one.job.ticket.fail(NonFiniteError("logits"))
            else:
                one.job.ticket.deliver(one.job.index, one.codes)


def _over(when: Event | None) -> bool:
    return when is None or when.query()
