"""The clips in flight: which slot each is in, how far it is, and the moves that keep them side by side."""

from dataclasses import dataclass

import torch

from musicgen_serving.engine import delay_pattern
from musicgen_serving.engine.decode_loop import DecodeLoop
from musicgen_serving.engine.waiting import Job
from musicgen_serving.errors import NotFiniteError


@dataclass
class Occupant:
    """A clip in a slot; `position` is the next one to be fed, `end` the first that need not be."""

    job: Job
    position: int
    end: int


class Batch:
    """Clips in slots 0, 1, …, without a gap. The host knows every clip's length, so it never asks the device."""

    def __init__(self, loop: DecodeLoop, granule: int) -> None:
        self._loop = loop
        self._granule = granule  # the lengths that attention reads are multiples of it
        self._slots = loop.slots.position.shape[0]
        self.occupants: list[Occupant] = []

    @property
    def free(self) -> int:
        """How many clips could be admitted."""
        return self._slots - len(self.occupants)

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
            occupant.job.ticket.most_in_flight = max(occupant.job.ticket.most_in_flight, count)

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
            torch.ones(1, device=self._loop.device).add_(1).item()
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
        return min(-(-count // self._granule) * self._granule, most)

    def collect(self) -> None:
        """Hand in what is finished and drop what nobody waits for, from the last slot to the first."""
        for slot in reversed(range(len(self.occupants))):
            occupant = self.occupants[slot]
            if occupant.position >= occupant.end:
                self._hand_in(slot, occupant)
                self._leave(slot)
            elif occupant.job.ticket.over:
                self._leave(slot)

    def _hand_in(self, slot: int, occupant: Occupant) -> None:
        job = occupant.job
        if bool(self._loop.slots.broken[slot]):
            job.ticket.fail(NotFiniteError("the model's logits must be finite, got NaN or infinity"))
        else:
            job.ticket.deliver(job.index, self._loop.codes(slot, job.clip.params.frames))

    def _leave(self, slot: int) -> None:
        """Empty a slot by moving the last one into it."""
        self._heal(slot)
        last, vacated = self.occupants.pop(), len(self.occupants)
        if slot < vacated:
            self._loop.slots.move(vacated, slot, last.position)
            self._heal(vacated)
            self.occupants[slot] = last
        self._loop.slots.vacate(vacated)

    def _heal(self, slot: int) -> None:
        """Leave no NaN where the next clip of this slot would meet it."""
        if bool(self._loop.slots.broken[slot]):
            self._loop.slots.clear(slot)
