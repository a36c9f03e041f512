"""Scheduling: the queue of sequences that wait, and the batch of those in flight.

The queue is bounded and fair between requests. The batch knows which slot each sequence is in, how far it is, and moves
sequences so that the occupied slots stay contiguous.
"""

import time
from collections import deque
from collections.abc import Callable

import torch

from musicgen_serving.engine.completion_queue import CompletionQueue, RecordEvent, event_recorder
from musicgen_serving.engine.errors import QueueFullError
from musicgen_serving.engine.model.codec import CHUNK, LOOKAHEAD
from musicgen_serving.engine.request import Request, Sequence
from musicgen_serving.engine.step.model_runner import ModelRunner


class RequestQueue:
    """Sequences waiting for a slot, by request; those of a request that is done no longer count.

    Not thread-safe: the engine holds a lock. Requests may fail or be abandoned in other threads at any time.
    """

    def __init__(self, max_waiting: int) -> None:
        self._max_waiting = max_waiting
        self._requests: deque[deque[Sequence]] = deque()

    def __len__(self) -> int:
        return sum(len(sequences) for sequences in self._live())

    def _live(self) -> deque[deque[Sequence]]:
        """Drop the sequences of requests that are done; return the others'."""
        self._requests = deque(waiting for waiting in self._requests if not waiting[0].request.done)
        return self._requests

    @property
    def age(self) -> float:
        """Seconds that the oldest request has waited."""
        return max((time.monotonic() - waiting[0].request.created for waiting in self._live()), default=0.0)

    def add(self, request: Request) -> None:
        """Queue a request's clips; raise QueueFullError if they are too many."""
        count = len(self) + len(request.clips)
        if count > self._max_waiting:
            raise QueueFullError(count, self._max_waiting)
        self._requests.append(deque(Sequence(request, index) for index in range(len(request.clips))))

    def take(self, count: int, fits: Callable[[Sequence], bool] = lambda sequence: True) -> list[Sequence]:
        """Remove up to `count` sequences: one of each request in turn, the longest-waiting request first.

        Ends at the first that does not fit, whose turn it then remains: short clips never overtake a long one.
        """
        taken: list[Sequence] = []
        requests = self._live()
        while requests and len(taken) < count:
            waiting = requests.popleft()
            if not fits(waiting[0]):
                requests.appendleft(waiting)
                break
            taken.append(waiting.popleft())
            if waiting:
                requests.append(waiting)
        return taken

    def put_back(self, sequence: Sequence) -> None:
        """Return a sequence that could not be admitted to the front."""
        self._requests.appendleft(deque([sequence]))

    def drain(self) -> list[Sequence]:
        drained = [sequence for waiting in self._requests for sequence in waiting]
        self._requests.clear()
        return drained


class Batch:
    """Sequences in slots 0, 1, …, without a gap. The host knows every clip's length, so it never asks the device."""

    def __init__(self, runner: ModelRunner, length_multiple: int, record_event: RecordEvent | None = None) -> None:
        self._runner = runner
        self.length_multiple = length_multiple  # attention lengths are rounded up to a multiple of this
        self.device = runner.device
        self.max_sequences = runner.slots.position.shape[0]  # benchmarks lower it
        self._completions = CompletionQueue(record_event or event_recorder(runner.device))
        self.sequences: list[Sequence] = []

    @property
    def free_slots(self) -> int:
        return self.max_sequences - len(self.sequences)

    @property
    def free_pages(self) -> int:
        """KV pages that no sequence holds."""
        return self._runner.allocator.free

    def page_budget(self) -> Callable[[Sequence], bool]:
        """Return a predicate that counts what it is asked for: whether a sequence fits beside those before it."""
        left = self.free_pages

        def fits(sequence: Sequence) -> bool:
            nonlocal left
            left -= self._count_pages(sequence)
            return left >= 0

        return fits

    def _count_pages(self, sequence: Sequence) -> int:
        """Return what a sequence holds until it leaves: what the window that needs most does."""
        texts, negative = sequence.request.tokens[sequence.index], len(sequence.negative_tokens)
        return max(
            self._runner.count_pages(window.frames, len(texts[window.section]), negative) for window in sequence.windows
        )

    @property
    def unfinished(self) -> list[Sequence]:
        """Every sequence in a slot, or whose codes the device has yet to finish."""
        return [*self._completions.sequences, *self.sequences]

    def admit(
        self, sequence: Sequence, states: torch.Tensor | None, negative: torch.Tensor | None = None
    ) -> None:  # fmt: skip
        """Put a sequence into the next slot, with the states [tokens, width] of its text and its negative prompt."""
        self._begin_window(len(self.sequences), sequence, states, negative)
        self.sequences.append(sequence)
        sequence.request.mark_started()

    def _begin_window(
        self, slot: int, sequence: Sequence, states: torch.Tensor | None, negative: torch.Tensor | None
    ) -> None:
        window = sequence.window
        sequence.position = self._runner.admit(
            slot, states, window.frames, sequence.clip.params, window.seed, prompt=sequence.context, negative=negative,
            melody=sequence.melody, pages=self._count_pages(sequence),
        )  # fmt: skip
        sequence.end = self._end(sequence, window.frames)
        self._schedule_part(sequence)

    def _end(self, sequence: Sequence, frames: int) -> int:
        """Return the position before which a sequence's first `frames` of its window are complete."""
        return self._runner.end(frames, len(sequence.tokens), len(sequence.negative_tokens))

    def _schedule_part(self, sequence: Sequence) -> None:
        """Let the next part leave as soon as EnCodec can decode another chunk with it."""
        chunks = 1 + max(0, sequence.sent - LOOKAHEAD) // CHUNK
        more = chunks * CHUNK + LOOKAHEAD - sequence.frames_before
        sequence.part_due = self._end(sequence, sequence.window.context + more)

    @property
    def between_windows(self) -> list[Sequence]:
        """The sequences whose window is finished and that have another: their next texts are to be encoded."""
        return [sequence for sequence in self.sequences if sequence.position >= sequence.end]

    def begin_window(
        self, sequence: Sequence, states: torch.Tensor | None, negative: torch.Tensor | None = None
    ) -> None:
        """Let a sequence that is between windows go on, with the states of its window's text and negative prompt."""
        self._begin_window(self.sequences.index(sequence), sequence, states, negative)

    def remove(self, sequence: Sequence) -> None:
        """Take a sequence out of its slot."""
        self._release(self.sequences.index(sequence))

    def step(self) -> None:
        """Advance every sequence by one position.

        If that raises, step each alone and fail only those that raise again.
        """
        try:
            self._step_run(0, len(self.sequences))
        except Exception:
            self._step_singly()
        count = len(self.sequences)
        for sequence in self.sequences:
            sequence.position += 1
            sequence.request.steps += 1
            sequence.request.max_in_flight = max(sequence.request.max_in_flight, count)

    def _step_singly(self) -> None:
        errors: list[Exception] = []
        for slot, sequence in enumerate(self.sequences):
            try:
                self._step_run(slot, 1)
            except Exception as error:
                errors.append(error)
                sequence.request.fail(error)
        if len(errors) == len(self.sequences):  # perhaps a CUDA fault, after which the process cannot compute anything
            try:
                torch.ones(1, device=self.device).add_(1).item()
            except RuntimeError:
                raise errors[0] from None

    def _step_run(self, first: int, count: int) -> None:
        run = self.sequences[first : first + count]
        params = [sequence.clip.params for sequence in run]
        vocabulary = self._runner.config.vocabulary
        self._runner.step(
            first,
            count,
            length=self._round_up(max(sequence.position for sequence in run) + 1, self._runner.positions),
            text_length=self._round_up(max(sequence.text_length for sequence in run), self._runner.text_length),
            max_top_k=max(min(one.top_k or vocabulary, vocabulary) for one in params),
            use_top_p=any(one.top_p < 1 for one in params),
        )

    def _round_up(self, count: int, limit: int) -> int:
        """Round up to the length multiple: few shapes, little padding, and on a CPU the same order of summation."""
        return min(-(-count // self.length_multiple) * self.length_multiple, limit)

    def collect_finished(self) -> None:
        """Free the slots of finished and dropped sequences, and send on the codes that the device has finished.

        Waits for the device only if no sequence is left for it to step meanwhile.
        """
        for slot in reversed(range(len(self.sequences))):
            sequence = self.sequences[slot]
            if sequence.position >= sequence.end and not sequence.request.done:
                self._finish_window(slot, sequence)
                if sequence.window_index + 1 < len(sequence.windows):
                    sequence.window_index += 1
                    continue
                self._send(slot, sequence, sequence.codes, last=True)
            elif sequence.position >= sequence.part_due and not sequence.request.done:
                window, frames = sequence.window, self._runner.complete_frames(slot, sequence.position)
                unfinished = self._runner.codes(slot, max(frames, window.context))[:, window.context :]
                self._send(slot, sequence, [*sequence.codes, unfinished], last=False)
                self._schedule_part(sequence)
            if sequence.position >= sequence.end or sequence.request.done:
                self._release(slot)
        self._completions.complete(wait=not self.sequences)

    def _send(self, slot: int, sequence: Sequence, codes: list[torch.Tensor], *, last: bool) -> None:
        """Queue what a clip's codes have gained since its last part."""
        part = torch.cat(codes, dim=1)[:, sequence.sent :]
        sequence.sent += part.shape[1]
        self._completions.add(sequence, part, self._runner.slots.nonfinite[slot], last=last)

    def _finish_window(self, slot: int, sequence: Sequence) -> None:
        """Keep a finished window's new codes, and whether its logits were finite."""
        window, flag = sequence.window, self._runner.slots.nonfinite[slot]
        sequence.codes.append(self._runner.codes(slot, window.frames)[:, window.context :])
        if sequence.nonfinite is not None:
            flag |= sequence.nonfinite
        sequence.nonfinite = flag.clone()

    def _release(self, slot: int) -> None:
        """Empty a slot, return its pages, and move the last sequence into it."""
        last = len(self.sequences) - 1
        self._runner.release(slot)
        if slot < last:
            self._runner.move(last, slot)
            self.sequences[slot] = self.sequences[last]
        self.sequences.pop()
