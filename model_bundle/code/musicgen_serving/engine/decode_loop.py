"""The decode loop: clips enter slots, a step advances a run of slots by one token each, finished clips leave.

Everything that a step reads or writes is on the device and of fixed shape for a given run, cache length and text
length, so that a step can be captured as a CUDA graph; the host only counts, and never waits for a result.
"""

import torch
from torch.nn import functional

from musicgen_serving.engine import delay_pattern
from musicgen_serving.engine.decoder_config import DecoderConfig
from musicgen_serving.engine.decoder_weights import DecoderWeights
from musicgen_serving.engine.graphs import BUDGET_SECONDS, Recorded, Recorder, StepGraphs
from musicgen_serving.engine.sampling_params import SamplingParams
from musicgen_serving.engine.slots import Slots
from musicgen_serving.engine.torch_step import Advance, TorchStep
from musicgen_serving.engine.transformer import forward, write_text
from musicgen_serving.engine.window import Window, window
from musicgen_serving.json_log import JsonLog


class DecodeLoop:
    """The decoder with its slots; `advance` computes a step, in torch's own operations unless it is given."""

    def __init__(
        self, config: DecoderConfig, weights: DecoderWeights, slots: Slots, advance: Advance | None = None
    ) -> None:
        self.config = config
        self.slots = slots
        self.positions = slots.tokens.shape[2] - 1
        self.device = slots.tokens.device
        self.weights = weights
        self.advance: Advance = advance or TorchStep(config, weights)
        self.graphs: StepGraphs | None = None  # where there are any, they do the steps that begin at slot 0
        self.text = slots.cross_mask.shape[-1]
        self._bounds = (0, 0, 0, 0)
        self._window = window(slots, 0, 1, 1, 1)

    @torch.inference_mode()
    def admit(
        self, slot: int, states: torch.Tensor, frames: int, params: SamplingParams, seed: int,
        prompt: torch.Tensor | None = None,
    ) -> int:  # fmt: skip
        """Put a clip into a slot and return the first position that `step` feeds.

        `states` [tokens, T5's width] are its text's, `prompt` [K, n] the codes that it continues.
        """
        if project := self.weights.project:
            states = functional.linear(states, project.weight, project.bias)
        start = prompt.shape[1] if prompt is not None else 0
        own = window(self.slots, slot, 1, max(start, 1), self.text)
        write_text(self.weights, self.config.heads, own, states.to(self.weights.heads.dtype))
        delays, pad = self.config.delays, self.config.pad_token
        self.slots.tokens[slot] = delay_pattern.lay_out(frames, self.positions, delays, pad, prompt, self.device)
        self.slots.set_parameters(slot, params, seed, self.config.vocabulary)
        if start:
            self._prefill(own, start)
        self.slots.occupy(slot, start, states.shape[0])
        return start

    def _prefill(self, own: Window, count: int) -> None:
        """Feed a prompt's first `count` positions at once, for their keys and values."""
        position = torch.arange(count, device=self.device)[None]  # [1, count]
        forward(self.weights, self.config.heads, own, own.state.tokens[:, :, :count], position)

    @torch.inference_mode()
    def step(self, first: int, count: int, *, length: int, text: int, most: int, use_top_p: bool) -> None:
        """Advance the active ones of `count` slots from `first` by one position each.

        `length` and `text` bound what attention reads: no active slot may be at a position from `length` on, or have
        more text tokens than `text`. `most` and `use_top_p` bound what sampling must look at.
        """
        if self.graphs is not None and first == 0:
            return self.graphs.step(count, length)
        if self._bounds != (first, count, length, text):
            self._bounds, self._window = (first, count, length, text), window(self.slots, first, count, length, text)
        return self.advance(self._window, most=most, use_top_p=use_top_p)

    def record(self, recorder: Recorder, log: JsonLog, budget: float = BUDGET_SECONDS) -> Recorded:
        """Record steps for about `budget` seconds, and from now on repeat what is recorded. No slot may be active."""
        self.graphs = StepGraphs(self.slots, self.advance, recorder, self.config.vocabulary, log)
        return self.graphs.record_all(budget)

    @torch.inference_mode()
    def codes(self, slot: int, frames: int) -> torch.Tensor:
        """A finished clip's codes [K, frames]."""
        return delay_pattern.codes(self.slots.tokens[slot], frames, self.config.delays)
