"""Scheduling: requests and their sequences, the queue of those that wait, and the batch of those in flight.

The queue is bounded and fair between requests. The batch knows which slot each sequence is in, how far it is, and moves
sequences so that the occupied slots stay contiguous.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Protocol

import torch

from musicgen_serving.engine.errors import NonFiniteError, QueueFullError, RequestAbandonedError
from musicgen_serving.engine.sampling_params import DELAY_TOKENS, ClipSpec
from musicgen_serving.engine.step.model_runner import ModelRunner
from musicgen_serving.engine.windows import Window, plan_windows

POLL_SECONDS = 0.25  # between checks whether the client is still connected


class Request:
    """A request's clips, shared by the thread that waits for them and the engine's thread."""

    def __init__(
        self, clips: list[ClipSpec], tokens: list[list[list[int]]], negative_tokens: list[list[int]] | None = None,
        *, prompts: list[torch.Tensor | None] | None = None,
    ) -> None:  # fmt: skip
        self.clips = clips
        self.tokens = tokens  # of the text of each clip's sections; none if it has no text
        self.negative_tokens = negative_tokens or [[] for _ in clips]  # of each clip's negative prompt, if any
        self.prompts = prompts or [None for _ in clips]  # codes [K, n] that each clip continues, if any
        self.windows = [
            plan_windows(
                [part.frames for part in clip.parts], clip.params.stride, clip.seed,
                prompt=0 if prompt is None else prompt.shape[1],
            )
            for clip, prompt in zip(clips, self.prompts, strict=True)
        ]  # fmt: skip
        # Chroma [T, bins], on the host, that each window of each clip follows; none if the clip has no melody.
        self.melodies: list[tuple[torch.Tensor, ...]] = [() for _ in clips]
        self.created = time.monotonic()
        self.max_in_flight = 0  # sequences that one step advanced together with this request's
        self.steps = 0  # of all its clips so far; one token of every codebook each
        self._all_steps = sum(window.new + DELAY_TOKENS for windows in self.windows for window in windows)
        self._started: float | None = None
        self._codes: dict[int, torch.Tensor] = {}  # in the order in which the clips finished
        self._error: BaseException | None = None
        self._changed = threading.Condition()

    @property
    def done(self) -> bool:
        """Whether every clip is finished, or the request failed or was abandoned."""
        return self._error is not None or len(self._codes) == len(self.clips)

    @property
    def started(self) -> bool:
        """Whether a clip has had a slot."""
        return self._started is not None

    @property
    def fraction(self) -> float:
        """How much of the clips' tokens is generated, from 0 to 1; may be read by any thread."""
        return self.steps / self._all_steps

    @property
    def queued_seconds(self) -> float:
        """How long the request waited for its first slot."""
        return (self._started or time.monotonic()) - self.created

    def mark_started(self) -> None:
        self._started = self._started or time.monotonic()

    def complete(self, index: int, codes: torch.Tensor) -> None:
        """Add one clip's codes [K, frames]."""
        with self._changed:
            self._codes[index] = codes
            self._changed.notify()

    def fail(self, error: BaseException) -> None:
        """End the request with its first error, also if its clips are finished; those that are not are dropped."""
        with self._changed:
            self._error = self._error or error
            self._changed.notify()

    def finished(self, abandoned: Callable[[], bool] | None = None) -> Iterator[tuple[int, torch.Tensor]]:
        """Yield each clip's index and codes as soon as it is finished.

        Raises the request's error, whether or not clips are finished; RequestAbandonedError once `abandoned()`.
        """
        for count in range(len(self.clips)):
            while True:
                if abandoned is not None and abandoned():
                    self.fail(RequestAbandonedError())
                with self._changed:
                    if self._error is None and len(self._codes) <= count:
                        self._changed.wait(POLL_SECONDS)
                    if self._error is not None:
                        raise self._error
                    if len(self._codes) > count:
                        clip = next(islice(self._codes.items(), count, None))
                        break
            yield clip

    def wait(self, abandoned: Callable[[], bool] | None = None) -> list[torch.Tensor]:
        """Return every clip's codes in order; raise the request's error, RequestAbandonedError if `abandoned()`."""
        codes = dict(self.finished(abandoned))
        return [codes[index] for index in range(len(self.clips))]


@dataclass(eq=False)
class Sequence:
    """One clip of a request; once in a slot, `position` is the next to be fed and `end` the first that is not.

    A long clip has several windows. It keeps its slot and its pages from one to the next, and `position` begins again.
    """

    request: Request
    index: int
    position: int = 0
    end: int = 0
    window_index: int = 0
    codes: list[torch.Tensor] = field(default_factory=list[torch.Tensor])  # [K, frames]: the prompt, finished windows
    nonfinite: torch.Tensor | None = None  # whether any logits of finished windows were NaN or infinite

    def __post_init__(self) -> None:
        prompt = self.request.prompts[self.index]
        if prompt is not None:
            self.codes.append(prompt)

    @property
    def clip(self) -> ClipSpec:
        return self.request.clips[self.index]

    @property
    def windows(self) -> tuple[Window, ...]:
        return self.request.windows[self.index]

    @property
    def window(self) -> Window:
        """The window that is being generated, or is next."""
        return self.windows[self.window_index]

    @property
    def context(self) -> torch.Tensor | None:
        """The codes [K, n] that the window continues."""
        return torch.cat(self.codes, dim=1)[:, -self.window.context :] if self.window.context else None

    @property
    def melody(self) -> torch.Tensor | None:
        """The chroma [T, bins] that the window follows."""
        melodies = self.request.melodies[self.index]
        return melodies[self.window_index] if melodies else None

    @property
    def tokens(self) -> list[int]:
        """The tokens of the window's text."""
        return self.request.tokens[self.index][self.window.section]

    @property
    def progress(self) -> str:
        """The position in the window, and which window it is if there are several."""
        window = f", window {self.window_index + 1} of {len(self.windows)}" if len(self.windows) > 1 else ""
        return f"{self.position} of {self.end}{window}"

    @property
    def negative_tokens(self) -> list[int]:
        return self.request.negative_tokens[self.index]

    @property
    def text_length(self) -> int:
        """The tokens of the longer of its text and its negative prompt; at least 1."""
        return max(1, len(self.tokens), len(self.negative_tokens))


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


class DeviceEvent(Protocol):
    """A point in the device's work, like torch.cuda.Event: ask whether it is reached, or wait for it."""

    def query(self) -> bool: ...
    def synchronize(self) -> None: ...


RecordEvent = Callable[[], DeviceEvent | None]
"""Record an event after all work queued by this thread; None if work is finished when its call returns."""


def event_recorder(device: torch.device) -> RecordEvent:
    """Return what records events on a device; a thread that waits for one sleeps."""

    def record() -> DeviceEvent:
        event = torch.cuda.Event(blocking=True)
        event.record()
        return event

    return record if device.type == "cuda" else lambda: None


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
        sequence.end = self._runner.end(window.frames, len(sequence.tokens), len(sequence.negative_tokens))

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
        """Free the slots of finished and dropped sequences, and complete those that the device has finished.

        Waits for the device only if no sequence is left for it to step meanwhile.
        """
        for slot in reversed(range(len(self.sequences))):
            sequence = self.sequences[slot]
            if sequence.position >= sequence.end and not sequence.request.done:
                self._finish_window(slot, sequence)
                if sequence.window_index + 1 < len(sequence.windows):
                    sequence.window_index += 1
                    continue
                self._completions.add(sequence, torch.cat(sequence.codes, dim=1), self._runner.slots.nonfinite[slot])
            if sequence.position >= sequence.end or sequence.request.done:
                self._release(slot)
        self._completions.complete(wait=not self.sequences)

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


@dataclass(frozen=True)
class Completion:
    """A sequence whose steps are all queued; `nonfinite` can be read on the host after `event`."""

    sequence: Sequence
    codes: torch.Tensor
    nonfinite: torch.Tensor
    event: DeviceEvent | None


class CompletionQueue:
    """Sequences whose slots are free but whose codes the device has yet to finish, in order."""

    def __init__(self, record_event: RecordEvent) -> None:
        self._record_event = record_event
        self._pending: deque[Completion] = deque()

    @property
    def sequences(self) -> list[Sequence]:
        """Those still pending."""
        return [completion.sequence for completion in self._pending]

    def add(self, sequence: Sequence, codes: torch.Tensor, nonfinite: torch.Tensor) -> None:
        """Queue a sequence's codes [K, frames] and its slot's flag, copied before the slot is used again."""
        if nonfinite.device.type == "cpu":
            on_host = nonfinite.clone()
        else:
            on_host = torch.empty((), dtype=torch.bool, pin_memory=True)
            on_host.copy_(nonfinite, non_blocking=True)
        self._pending.append(Completion(sequence, codes, on_host, self._record_event()))

    def complete(self, *, wait: bool) -> None:
        """Complete the sequences that the device has finished; with `wait`, all of them."""
        while self._pending:
            event = self._pending[0].event
            if not (wait or event is None or event.query()):
                return
            done = self._pending.popleft()
            if event is not None:
                event.synchronize()
            if bool(done.nonfinite):
                done.sequence.request.fail(NonFiniteError("logits"))
            else:
                done.sequence.request.complete(done.sequence.index, done.codes)
