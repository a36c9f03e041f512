"""The decode loop: clips enter slots, a step advances a run of slots by one token each, finished clips leave.

Everything that a step reads or writes is on the device and of fixed shape for a given run, cache length and text
length, so that a step can be captured as a CUDA graph; the host only counts, and never waits for a result.
"""

import torch
from torch.nn import functional

from musicgen_serving.engine import delay_pattern
from musicgen_serving.engine.decoder_config import DecoderConfig
from musicgen_serving.engine.decoder_weights import DecoderWeights
from musicgen_serving.engine.sampling import guided, sample
from musicgen_serving.engine.slots import Slots
from musicgen_serving.engine.transformer import Transformer
from musicgen_serving.parameters import GenerationParams


class DecodeLoop:
    """The decoder with its slots."""

    def __init__(self, config: DecoderConfig, weights: DecoderWeights, slots: Slots) -> None:
        self.config = config
        self.slots = slots
        self.positions = slots.tokens.shape[2] - 1
        self.device = slots.tokens.device
        self._weights = weights
        self._transformer = Transformer(config, weights, slots)

    @torch.inference_mode()
    def admit(
        self, slot: int, states: torch.Tensor, frames: int, params: GenerationParams, seed: int,
        prompt: torch.Tensor | None = None,
    ) -> int:  # fmt: skip
        """Put a clip into a slot and return the first position that `step` feeds.

        `states` [tokens, T5's width] are its text's, `prompt` [K, n] the codes that it continues.
        """
        if project := self._weights.project:
            states = functional.linear(states, project.weight, project.bias)
        self._transformer.write_text(slot, states.to(self._weights.heads.dtype))
        delays, pad = self.config.delays, self.config.pad_token
        self.slots.tokens[slot] = delay_pattern.lay_out(frames, self.positions, delays, pad, prompt, self.device)
        self.slots.set_parameters(slot, params, seed, self.config.vocabulary)
        start = prompt.shape[1] if prompt is not None else 0
        if start:
            self._prefill(slot, start, states.shape[0])
        self.slots.position[slot] = start
        return start

    def _prefill(self, slot: int, count: int, text: int) -> None:
        """Feed a prompt's first `count` positions at once, for their keys and values."""
        position = torch.arange(count, device=self.device)[None]  # [1, count]
        self._transformer.forward(slot, self.slots.tokens[slot : slot + 1, :, :count], position, count, text)

    @torch.inference_mode()
    def step(self, first: int, count: int, *, length: int, text: int, most: int, use_top_p: bool) -> None:
        """Advance `count` slots from `first` by one position each.

        `length` and `text` bound what attention reads: no slot may be at a position from `length` on, or have more
        text tokens than `text`. `most` and `use_top_p` bound what sampling must look at.
        """
        state, run = self.slots, slice(first, first + count)
        position = state.position[run]  # [n]
        tokens = state.tokens[run]  # [n, K, P + 1]
        here = position[:, None, None].expand(-1, self.config.codebooks, 1)  # [n, K, 1]
        logits = self._transformer.forward(first, tokens.gather(2, here), position[:, None], length, text)
        logits = logits.float().view(*logits.shape[:2], self.config.codebooks, -1)  # [n, 2, K, V]
        logits = guided(logits, state.guidance[run])  # [n, K, V]
        state.broken[run] |= ~logits.isfinite().flatten(1).all(1)
        drawn = sample(
            logits, temperature=state.temperature[run], top_k=state.top_k[run], top_p=state.top_p[run],
            greedy=state.greedy[run], seed=state.seed[run], position=position, most=most, use_top_p=use_top_p,
        )  # fmt: skip
        planned = tokens.gather(2, here + 1)  # what the pattern or a prompt has there
        written = torch.where(planned == delay_pattern.TO_GENERATE, drawn[..., None], planned)
        tokens.scatter_(2, here + 1, written)
        state.position[run] += 1

    @torch.inference_mode()
    def codes(self, slot: int, frames: int) -> torch.Tensor:
        """A finished clip's codes [K, frames]."""
        return delay_pattern.codes(self.slots.tokens[slot], frames, self.config.delays)
