"""The clips in flight: which slot each is in, how far it is, and the moves that keep them side by side."""

from dataclasses import dataclass

import torch

from musicgen_serving.engine import delay_pattern
from musicgen_serving.engine.decode_loop import DecodeLoop
from musicgen_serving.engine.hand_over import HandOver
from musicgen_serving.engine.pace import MarkNow, marker
from musicgen_serving.engine.waiting import Job


@dataclass
class Occupant:
    """A clip in a slot; `position` is the next one to be fed, `end` the first that need not be."""

    job: Job
    position: int
    end: int


class Batch:
    """Clips in slots 0, 1, …, without a gap. The host knows every clip's length, so it never asks the device."""

    def __init__(self, loop: DecodeLoop, granule: int, mark: MarkNow | None = None) -> None:
        self._loop = loop
        self.granule = granule  # the lengths that attention reads are multiples of it
        self.device = loop.device
        self.most = loop.slots.position.shape[0]  # clips at once: one in each slot, or fewer for who wants it so
        self._hand_over = HandOver(mark or marker(loop.device))
        self.occupants: list[Occupant] = []

    @property
    def free(self) -> int:
        """How many clips could be admitted."""
        return self.most - len(self.occupants)

    @property
    def jobs(self) -> list[Job]:
        """Every clip that is in a slot, or has left one and is on its way to who waits for it."""
        return [*self._hand_over.jobs, *(occupant.job for occupant in self.occupants)]

    def admit(self, job: Job, states: torch.Tensor) -> None:
        """Put a clip into the next slot, its text's states [tokens, width] being known."""
        clip, slot = job.clip, len(self.occupants)
        frames = clip.params.frames
        start = self._loop.admit(slot, states, frames, clip.params, clip.seed)
        self.occupants.append(Occupant(job, start, delay_pattern.steps(frames, self._loop.config.delays)))
        job.ticket.started()

    def step(self) -> None:
        """Advance every clip by one position.

        If that raises, each is stepped alone, and those that raise again are failed: one cannot take the others along.
        """
        try:
            self._step(0, len(self.occupants))
        except Exception:
            self._step_singly()
        count = len(self.occupants)
        for occupant in self.occupants:
            occupant.position += 1
            occupant.job.ticket.max_in_flight = max(occupant.job.ticket.max_in_flight, count)

    def _step_singly(self) -> None:
        errors: list[Exception] = []
        for slot, occupant in enumerate(self.occupants):
            try:
                self._step(slot, 1)
            except Exception as error:
                errors.append(error)
                occupant.job.ticket.fail(error)
        if len(errors) == len(self.occupants):
            self._check_device(errors[0])

    def _check_device(self, error: Exception) -> None:
        """Raise the error where the device is lost: a CUDA fault leaves the process unable to compute anything."""
        try:
            torch.ones(1, device=self.device).add_(1).item()
        except RuntimeError:
            raise error from None

    def _step(self, first: int, count: int) -> None:
        run = self.occupants[first : first + count]
        furthest = max(occupant.position for occupant in run) + 1
        params = [occupant.job.clip.params for occupant in run]
        vocabulary = self._loop.config.vocabulary
        self._loop.step(
            first,
            count,
            length=self._rounded_up(furthest, self._loop.positions),
            text=self._rounded_up(max(len(occupant.job.tokens) for occupant in run), self._loop.text),
            most=max(min(one.top_k or vocabulary, vocabulary) for one in params),
            use_top_p=any(one.top_p < 1 for one in params),
        )

    def _rounded_up(self, count: int, most: int) -> int:
        """To the granule: few shapes, little read in vain, and on a CPU sums that run over the same vectors."""
        return min(-(-count // self.granule) * self.granule, most)

    def collect(self) -> None:
        """Take what is finished, drop what nobody waits for, and hand over what the device is done with.

        The device is waited for only when no clip is left that it could step meanwhile.
        """
        for slot in reversed(range(len(self.occupants))):
            occupant = self.occupants[slot]
            finished = occupant.position >= occupant.end
            if finished:
                codes = self._loop.codes(slot, occupant.job.clip.params.frames)
                self._hand_over.add(occupant.job, codes, self._loop.slots.broken[slot])
            if finished or occupant.job.ticket.over:
                self._leave(slot)
        self._hand_over.deliver(wait=not self.occupants)

    def _leave(self, slot: int) -> None:
        """Empty a slot by moving the last one into it; where either is broken, its caches are zeroed."""
        slots, last = self._loop.slots, self.occupants[-1]
        slots.heal(slot, self.occupants[slot].position)
        vacated = len(self.occupants) - 1
        if slot < vacated:
            slots.move(vacated, slot, last.position)
            slots.heal(vacated, last.position)
            self.occupants[slot] = last
        slots.vacate(vacated)
        self.occupants.pop()
