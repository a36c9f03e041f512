"""A step as torch computes it, and what any other way of computing it must do."""

from typing import Protocol

import torch

from musicgen_serving.engine.decoder_config import DecoderConfig
from musicgen_serving.engine.decoder_weights import DecoderWeights
from musicgen_serving.engine.delay_pattern import TO_GENERATE
from musicgen_serving.engine.sampling import guided, sample
from musicgen_serving.engine.transformer import forward
from musicgen_serving.engine.window import Window


class Advance(Protocol):
    """Advance the window's active slots by one position: feed it, draw the next token, note logits that are not finite.

    A slot that is not active keeps its tokens, its position and its `broken`; its caches may be written to at its
    position. `most` and `use_top_p` bound what the active slots ask of sampling: the largest top_k, and whether any
    top_p is below 1. Nothing here waits for the device, copies from the host or depends on what the device holds.
    """

    def __call__(self, window: Window, /, *, most: int, use_top_p: bool) -> None: ...


class TorchStep:
    """The step in torch's own operations, for any device."""

    def __init__(self, config: DecoderConfig, weights: DecoderWeights) -> None:
        self._config = config
        self._weights = weights

    def __call__(self, window: Window, *, most: int, use_top_p: bool) -> None:
        """As `Advance` has it."""
        state, position = window.state, window.state.position  # [n]
        codebooks = self._config.codebooks
        here = position[:, None, None].expand(-1, codebooks, 1)  # [n, K, 1]
        tokens = state.tokens.gather(2, here)
        logits = forward(self._weights, self._config.heads, window, tokens, position[:, None])
        logits = logits.float().view(position.shape[0], 2, codebooks, -1)
        drawn, finite = sample(
            guided(logits, state.guidance), temperature=state.temperature, top_k=state.top_k, top_p=state.top_p,
            greedy=state.greedy, seed=state.seed, position=position, most=most, use_top_p=use_top_p,
        )  # fmt: skip
        state.broken.logical_or_(~finite & state.active)
        there = here + 1
        planned = state.tokens.gather(2, there)  # what the pattern or a prompt has there
        wanted = (planned == TO_GENERATE) & state.active[:, None, None]
        state.tokens.scatter_(2, there, torch.where(wanted, drawn, planned))
        position.add_(state.active)
