"""One decode step in torch's own operations, for any device, and the protocol that every step follows."""

from typing import Protocol

import torch

from musicgen_serving.engine.model.config import DecoderConfig
from musicgen_serving.engine.model.decoder import forward
from musicgen_serving.engine.model.weights import DecoderWeights
from musicgen_serving.engine.step.delay_pattern import TO_GENERATE
from musicgen_serving.engine.step.paged_attention import paged_attention
from musicgen_serving.engine.step.sampling import apply_guidance, sample
from musicgen_serving.engine.step.slots import BatchView


class StepFn(Protocol):
    """Advance the view's active slots by one position: feed it, sample the next tokens, flag non-finite logits.

    An inactive slot keeps its tokens, position and `nonfinite` flag; the null page may be written. `max_top_k` bounds
    the active slots' top_k, and `use_top_p` says whether any top_p is below 1. A step never waits for a device, copies
    to it from the host or depends on its values; on a CPU it may read them.
    """

    def __call__(self, view: BatchView, /, *, max_top_k: int, use_top_p: bool) -> None: ...


class TorchStep:
    """The step in torch's own operations."""

    def __init__(self, config: DecoderConfig, weights: DecoderWeights) -> None:
        self._config = config
        self._weights = weights

    def __call__(self, view: BatchView, *, max_top_k: int, use_top_p: bool) -> None:
        self.advance(view, self.logits(view), max_top_k=max_top_k, use_top_p=use_top_p)

    def logits(self, view: BatchView) -> torch.Tensor:
        """Feed each slot's position; return logits [n, 2, K, V] in float32."""
        position = view.state.position  # [n]
        tokens = view.state.tokens.gather(2, self._here(position))
        attention = paged_attention(view, position[:, None])
        logits = forward(self._weights, self._config.heads, attention, tokens, position[:, None])
        return logits.float().view(position.shape[0], 2, self._config.codebooks, -1)

    def advance(self, view: BatchView, logits: torch.Tensor, *, max_top_k: int, use_top_p: bool) -> None:
        """Sample the active slots' next tokens from logits [n, 2, K, V] and advance those slots."""
        state, position = view.state, view.state.position
        sampled, finite = sample(
            apply_guidance(logits, state.guidance), temperature=state.temperature, top_k=state.top_k, top_p=state.top_p,
            greedy=state.greedy, seed=state.seed, position=position, max_top_k=max_top_k, use_top_p=use_top_p,
        )  # fmt: skip
        state.nonfinite.logical_or_(~finite & state.active)
        following = self._here(position) + 1
        planned = state.tokens.gather(2, following)  # padding, a prompt's token or TO_GENERATE
        wanted = (planned == TO_GENERATE) & state.active[:, None, None]
        state.tokens.scatter_(2, following, torch.where(wanted, sampled, planned))
        position.add_(state.active)

    def _here(self, position: torch.Tensor) -> torch.Tensor:
        """Return positions [n] as indices [n, K, 1] of tokens."""
        return position[:, None, None].expand(-1, self._config.codebooks, 1)
