"""Divide a clip into windows: runs of the decoder, each of which continues the last seconds of what is there already.

The decoder has positions for 30 s. A longer clip is generated as audiocraft's `extend_stride` does it: the first window
has 30 s, each later one is prompted with the last `30 s - stride` and adds up to `stride`. A section begins a new
window, so its text takes effect exactly where it should.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from musicgen_serving.engine.sampling_params import MAX_WINDOW_FRAMES


@dataclass(frozen=True)
class Window:
    """`new` frames that follow the last `context` frames of the clip, under the text of section `section`."""

    section: int
    context: int
    new: int
    seed: int
    start: int = 0  # the frame of the clip with which the context begins

    @property
    def frames(self) -> int:
        """The frames that the decoder sees."""
        return self.context + self.new


def plan_windows(sections: Sequence[int], stride: int, seed: int, prompt: int = 0) -> tuple[Window, ...]:
    """Return the windows of a clip of `sections`, in new frames each, that continues `prompt` frames.

    What fits one window is one. Otherwise no window has more context than `MAX_WINDOW_FRAMES - stride` frames.
    """
    if len(sections) == 1 and prompt + sections[0] <= MAX_WINDOW_FRAMES:
        return (Window(0, prompt, sections[0], seed),)
    windows: list[Window] = []
    done = prompt
    for section, frames in enumerate(sections):
        end = done + frames
        while done < end:
            context = min(done, MAX_WINDOW_FRAMES - stride)
            new = min(end - done, MAX_WINDOW_FRAMES - context)
            windows.append(Window(section, context, new, window_seed(seed, len(windows)), done - context))
            done += new
    return tuple(windows)


def window_seed(seed: int, window: int) -> int:
    """Return a window's seed: positions start again in each, so with one seed each would draw the same numbers.

    The first has the clip's own, so the beginning of a clip does not depend on its length.
    """
    if window == 0:
        return seed
    return int.from_bytes(hashlib.sha256(f"{seed} {window}".encode()).digest()[:4], "big")
