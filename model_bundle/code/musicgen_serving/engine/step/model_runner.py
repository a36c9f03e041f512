"""The model runner: admit a clip to a slot and its pages, advance a run of slots, return a finished clip's codes.

In a melody model a clip's positions start with its prefix, which admission feeds: whatever a step reads and writes, it
knows only one position, that of the prefix and the tokens before it.

Everything that a step reads or writes is on the device, and of fixed shape for a given run, cache length and text
length, so that a step can be captured as a CUDA graph. The host only counts, and never waits for a result. It gives a
clip all its pages at admission, because a clip's length is known then: none is ever evicted.
"""

from dataclasses import replace

import torch

from musicgen_serving.engine.model.config import DecoderConfig
from musicgen_serving.engine.model.decoder import forward, melody_prefix, project_text, text_kv
from musicgen_serving.engine.model.memory import (
    PAGE,
    ROWS,
    TEXT_PAGE,
    clip_pages,
    clip_sizes,
    position_pages,
    prefix_positions,
    text_pages,
)
from musicgen_serving.engine.model.weights import CrossLayerWeights, DecoderWeights
from musicgen_serving.engine.sampling_params import SamplingParams
from musicgen_serving.engine.step import delay_pattern
from musicgen_serving.engine.step.graphs import BUDGET_SECONDS, GraphRecorder, RecordedGraphs, StepGraphs
from musicgen_serving.engine.step.page_allocator import PageAllocator
from musicgen_serving.engine.step.paged_attention import paged_attention, write_text
from musicgen_serving.engine.step.slots import Slots, batch_view
from musicgen_serving.engine.step.torch_step import StepFn, TorchStep
from musicgen_serving.json_log import JsonLog


class ModelRunner:
    """The decoder with its slots; `step_fn` computes a step, in torch's own operations by default."""

    def __init__(
        self, config: DecoderConfig, weights: DecoderWeights, slots: Slots, step_fn: StepFn | None = None
    ) -> None:
        self.config = config
        self.slots = slots
        self.positions = slots.tokens.shape[2] - 1
        self.text_length = slots.text_table.shape[2] * TEXT_PAGE
        self.allocator = PageAllocator(slots.kv[0].shape[2] // PAGE)
        self._pages: list[list[int]] = [[] for _ in range(slots.position.shape[0])]  # that each slot's clip holds
        self._text_rows = [1] * slots.position.shape[0]  # of each slot's clip: both with a negative prompt
        self._prefixes = [0] * slots.position.shape[0]  # positions before the first token of each slot's clip
        self.device = slots.tokens.device
        self.weights = weights
        self.step_fn: StepFn = step_fn or TorchStep(config, weights)
        self.graphs: StepGraphs | None = None  # if recorded, used for runs that start at slot 0
        self._bounds = (0, 1, 1, 1, 1)
        self._view = batch_view(slots, *self._bounds)

    @torch.inference_mode()
    def admit(
        self, slot: int, states: torch.Tensor | None, frames: int, params: SamplingParams, seed: int,
        prompt: torch.Tensor | None = None, negative: torch.Tensor | None = None,
        melody: torch.Tensor | None = None, pages: int = 0,
    ) -> int:  # fmt: skip
        """Put a clip into a slot, with all its pages, and return the first position that `step` feeds.

        `states` [tokens, T5's width] are its encoded text, None for a clip without one; `negative` are those of its
        negative prompt, `prompt` [K, n] the codes that it continues, `melody` [T, bins] the chroma that it follows, of
        a melody model only. The slot gets at least `pages` pages, for a clip that is to be admitted to it again; what
        it held is released. Raises OutOfPagesError if too few are free.
        """
        if melody is not None and not self.config.melody:
            raise ValueError(f"a melody needs a melody model, got one of {melody.shape[0]} frames for another model")
        tokens = [0 if text is None else text.shape[0] for text in (states, negative)]
        self._release_pages(slot)
        self._pages[slot] = self.allocator.allocate(max(pages, self.count_pages(frames, *tokens)))
        try:
            prefix, held = None, self._pages[slot]
            if self.config.melody:
                self.slots.set_pages(slot, held[: position_pages(self.positions)], ())
                prefix = melody_prefix(self.weights, self.config.chroma_frames, melody, (states, negative))
            else:
                self._write_texts(slot, held, tokens, (states, negative))
            if melody is None and not any(tokens):  # both rows are equal: guidance would only amplify rounding
                params = replace(params, guidance_scale=1)
            self.slots.set_parameters(slot, params, seed, self.config.vocabulary)
            return self._begin(slot, frames, tokens, prompt, prefix)
        except BaseException:
            self.release(slot)
            raise

    def _write_texts(
        self, slot: int, pages: list[int], tokens: list[int], texts: tuple[torch.Tensor | None, torch.Tensor | None]
    ) -> None:
        """Divide a clip's pages between its positions and its texts, and write the texts' keys and values."""
        end = len(pages) - text_pages(tokens[1])
        first = end - text_pages(tokens[0])
        tables = (pages[first:end], pages[end:])
        self.slots.set_pages(slot, pages[: min(first, position_pages(self.positions))], *tables)
        self._text_rows[slot] = ROWS if tokens[1] else 1
        for states, table in zip(texts, tables, strict=True):
            if states is None:
                continue
            states = project_text(self.weights, states).to(self.weights.dtype)
            for layer, kv in zip(self.weights.layers, self.slots.kv, strict=True):
                assert isinstance(layer, CrossLayerWeights)  # as in every model without a prefix
                write_text(kv, table, text_kv(layer, self.config.heads, states))

    def _begin(
        self, slot: int, frames: int, tokens: list[int], prompt: torch.Tensor | None, prefix: torch.Tensor | None
    ) -> int:
        """Lay out a clip's tokens, feed its prefix and prompt and activate its slot; return the position after them."""
        slots, delays, pad = self.slots, self.config.delays, self.config.pad_token
        self._prefixes[slot] = before = 0 if prefix is None else prefix.shape[1]
        slots.tokens[slot, :, :before] = pad  # not fed: the prefix is
        slots.tokens[slot, :, before:] = delay_pattern.lay_out(
            frames, self.positions - before, delays, pad, prompt, self.device
        )
        start = before + (0 if prompt is None else prompt.shape[1])
        slots.activate(slot, start, *(tokens if prefix is None else (0, 0)))
        if start:  # prefill: feed all positions that are known at once, for their keys and values
            position = torch.arange(start, device=self.device)[None]  # [1, start]
            view = batch_view(slots, slot, 1, start, self.text_length, self._text_rows[slot])
            attention = paged_attention(view, position)
            given = view.state.tokens[:, :, before:start]
            forward(self.weights, self.config.heads, attention, given, position, prefix)
        return start

    def count_pages(self, frames: int, tokens: int, negative_tokens: int = 0) -> int:
        """Return how many pages a clip of `frames` holds from admission until it leaves, its texts' included."""
        steps = delay_pattern.steps(frames, self.config.delays)
        return clip_pages(*clip_sizes(self.config, steps, tokens, negative_tokens))

    def end(self, frames: int, tokens: int, negative_tokens: int = 0) -> int:
        """Return the first position that a clip of `frames` does not feed, counted from its prefix."""
        before = prefix_positions(self.config, tokens, negative_tokens)
        return before + delay_pattern.steps(frames, self.config.delays)

    def complete_frames(self, slot: int, position: int) -> int:
        """Return how many frames of a slot's clip are complete before `position` is fed; below 0 in its prefix."""
        return position - self._prefixes[slot] - max(self.config.delays)

    def release(self, slot: int) -> None:
        """Empty a slot and return its clip's pages. Their next clip's writes are queued after this one's steps."""
        self.slots.deactivate(slot)
        self._release_pages(slot)

    def move(self, source: int, target: int) -> None:
        """Move a clip to an empty slot: its state and page tables, not its keys and values."""
        self.slots.move(source, target)
        self._pages[target], self._pages[source] = self._pages[source], []
        self._text_rows[target], self._text_rows[source] = self._text_rows[source], 1
        self._prefixes[target] = self._prefixes[source]
        self.slots.deactivate(source)

    def _release_pages(self, slot: int) -> None:
        self.allocator.release(self._pages[slot])
        self._pages[slot] = []
        self._text_rows[slot] = 1

    @torch.inference_mode()
    def step(self, first: int, count: int, *, length: int, text_length: int, max_top_k: int, use_top_p: bool) -> None:
        """Advance the active ones of `count` slots from `first` by one position each.

        `length` and `text_length` bound what attention reads: no active slot may be at position `length` or beyond, or
        have a longer text. `max_top_k` and `use_top_p` bound what sampling considers.
        """
        text_rows = max(self._text_rows[first : first + count])
        if self.graphs is not None and first == 0:
            return self.graphs.step(count, length, text_rows)
        bounds = (first, count, length, text_length, text_rows)
        if self._bounds != bounds:
            self._bounds, self._view = bounds, batch_view(self.slots, *bounds)
        return self.step_fn(self._view, max_top_k=max_top_k, use_top_p=use_top_p)

    def record_graphs(self, recorder: GraphRecorder, log: JsonLog, budget: float = BUDGET_SECONDS) -> RecordedGraphs:
        """Record steps for about `budget` seconds, and replay them from now on. No slot may be active."""
        self.graphs = StepGraphs(self.slots, self.step_fn, recorder, self.config.vocabulary, log)
        return self.graphs.record_all(budget)

    @torch.inference_mode()
    def codes(self, slot: int, frames: int) -> torch.Tensor:
        """Return a finished clip's codes [K, frames]."""
        return delay_pattern.codes(self.slots.tokens[slot, :, self._prefixes[slot] :], frames, self.config.delays)
