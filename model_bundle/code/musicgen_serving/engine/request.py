"""A request and its sequences: what is to be generated, how far each clip is, and the codes that are there so far."""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch

from musicgen_serving.engine.errors import RequestAbandonedError
from musicgen_serving.engine.sampling_params import DELAY_TOKENS, ClipSpec
from musicgen_serving.engine.windows import Window, plan_windows

POLL_SECONDS = 0.25  # between checks whether the client is still connected


@dataclass(frozen=True, eq=False)
class ClipPart:
    """Codes [K, n] of clip `index` that follow those of its parts before; `last` if they end it."""

    index: int
    codes: torch.Tensor
    last: bool


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
        self._parts: list[ClipPart] = []
        self._finished = 0  # clips whose last part is there
        self._error: BaseException | None = None
        self._changed = threading.Condition()

    @property
    def done(self) -> bool:
        """Whether every clip is finished, or the request failed or was abandoned."""
        return self._error is not None or self._finished == len(self.clips)

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

    def add_part(self, part: ClipPart) -> None:
        """Add the next codes of a clip."""
        with self._changed:
            self._parts.append(part)
            self._finished += part.last
            self._changed.notify()

    def fail(self, error: BaseException) -> None:
        """End the request with its first error, also if its clips are finished; those that are not are dropped."""
        with self._changed:
            self._error = self._error or error
            self._changed.notify()

    def parts(self, abandoned: Callable[[], bool] | None = None) -> Iterator[ClipPart]:
        """Yield every clip's parts, each as soon as the device has finished it.

        Raises the request's error, whether or not clips are finished; RequestAbandonedError once `abandoned()`.
        """
        unfinished, count = len(self.clips), 0
        while unfinished:
            if abandoned is not None and abandoned():
                self.fail(RequestAbandonedError())
            with self._changed:
                if self._error is None and len(self._parts) <= count:
                    self._changed.wait(POLL_SECONDS)
                if self._error is not None:
                    raise self._error
                part = self._parts[count] if len(self._parts) > count else None
            if part is not None:
                count += 1
                unfinished -= part.last
                yield part

    def wait(self, abandoned: Callable[[], bool] | None = None) -> list[torch.Tensor]:
        """Return every clip's codes in order; raise the request's error, RequestAbandonedError if `abandoned()`."""
        codes: list[list[torch.Tensor]] = [[] for _ in self.clips]
        for part in self.parts(abandoned):
            codes[part.index].append(part.codes)
        return [torch.cat(of_clip, dim=1) for of_clip in codes]


@dataclass(eq=False)
class Sequence:
    """One clip of a request; once in a slot, `position` is the next to be fed and `end` the first that is not.

    A long clip has several windows. It keeps its slot and its pages from one to the next, and `position` begins again.
    Its codes leave in parts, the next one at position `part_due`.
    """

    request: Request
    index: int
    position: int = 0
    end: int = 0
    part_due: int = 0
    sent: int = 0  # frames that have left
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
    def frames_before(self) -> int:
        """The frames of the prompt and of the windows that are finished."""
        return sum(codes.shape[1] for codes in self.codes)

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
