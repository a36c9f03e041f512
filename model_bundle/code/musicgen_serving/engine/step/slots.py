"""The slots' state on the device (page tables, sampling parameters, tokens), the KV pages, and views of some slots."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch

from musicgen_serving.engine.model.config import DecoderConfig
from musicgen_serving.engine.model.memory import NULL_PAGE, PAGE, ROWS, clip_pages, position_pages, text_pages
from musicgen_serving.engine.sampling_params import SamplingParams
from musicgen_serving.engine.step.page_allocator import adjacent_runs


@dataclass(frozen=True, kw_only=True)
class Slots:
    """S slots, each for a clip of up to P positions, and one pool of N pages for the keys and values of all clips.

    A clip's positions and text are in the pages that its tables name, in any order; what is beyond a clip's position
    or text is never read, so a page may hold anything when it changes hands, NaN included. A clip moves to another
    slot with its tables; its keys and values stay where they are.

    In a melody model a clip's first positions are its prefix, whose tokens are never read; the tokens follow it.
    """

    kv: list[torch.Tensor]  # per layer [2 (key, value), rows * heads, N * PAGE, head size]
    page_table: torch.Tensor  # [S, pages], int32: the page of positions 0 to 63, 64 to 127, …
    text_table: torch.Tensor  # [S, 2, pages], int32: of each row's text, 64 tokens in either row of a page
    tokens: torch.Tensor  # [S, K, P + 1]
    position: torch.Tensor  # [S], the next to be fed
    guidance: torch.Tensor  # [S], as are the rest
    temperature: torch.Tensor
    top_k: torch.Tensor
    top_p: torch.Tensor
    seed: torch.Tensor
    greedy: torch.Tensor
    nonfinite: torch.Tensor  # whether any logits were NaN or infinite
    text_tokens: torch.Tensor  # [S, 2], of each row's text; 0: without one, so its cross-attention is zero
    active: torch.Tensor  # whether steps advance a clip here

    def per_slot(self) -> dict[str, torch.Tensor]:
        """Return every tensor that has one row for each slot, by field."""
        return {one.name: getattr(self, one.name) for one in fields(self) if one.name != "kv"}

    def set_parameters(self, slot: int, params: SamplingParams, seed: int, vocabulary: int) -> None:
        """Write one clip's sampling parameters."""
        self.guidance[slot] = params.guidance_scale
        self.temperature[slot] = params.temperature
        self.top_k[slot] = min(params.top_k or vocabulary, vocabulary)
        self.top_p[slot] = params.top_p
        self.seed[slot] = seed
        self.greedy[slot] = not params.do_sample
        self.nonfinite[slot] = False

    def set_pages(
        self, slot: int, pages: Sequence[int], text: Sequence[int], negative: Sequence[int] = ()
    ) -> None:  # fmt: skip
        """Write one clip's page tables, by runs of adjacent pages: numbers are counted on the device, not copied."""
        tables = (self.page_table[slot], *self.text_table[slot].unbind())
        for table, numbers in zip(tables, (pages, text, negative), strict=True):
            first = 0
            for run in adjacent_runs(numbers):
                counted = torch.arange(run.start, run.stop, device=table.device, dtype=table.dtype)
                table[first : first + len(run)] = counted
                first += len(run)
            table[first:] = NULL_PAGE

    def activate(self, slot: int, position: int, text_tokens: int, negative_tokens: int = 0) -> None:
        """Let steps advance a slot from a position on."""
        self.position[slot] = position
        self.text_tokens[slot, 0] = text_tokens
        self.text_tokens[slot, 1] = negative_tokens
        self.active[slot] = True

    def deactivate(self, slot: int) -> None:
        """Let steps skip a slot: at position 0 of the null page, where a step over several slots may still write."""
        self.active[slot] = False
        self.position[slot] = 0
        self.text_tokens[slot] = 0
        self.page_table[slot] = NULL_PAGE
        self.text_table[slot] = NULL_PAGE

    def move(self, source: int, target: int) -> None:
        """Copy a slot's state over another's."""
        for tensor in self.per_slot().values():
            tensor[target] = tensor[source]


def allocate(
    config: DecoderConfig, slots: int, positions: int, text_length: int, device: torch.device, dtype: torch.dtype,
    pages: int | None = None,
) -> Slots:  # fmt: skip
    """Return empty slots, with as many pages as they can use if `pages`, the null page included, is None.

    Pages hold what was in memory before: nothing reads beyond what its clip has written. A host thus takes no memory
    for a page until it is used.
    """
    pages = pages or 1 + slots * clip_pages(positions, text_length, text_length)
    shape = (2, ROWS * config.heads, pages * PAGE, config.head_size)

    def per_slot(dtype: torch.dtype, *columns: int, fill: float = 1) -> torch.Tensor:
        return torch.full((slots, *columns), fill, device=device, dtype=dtype)

    return Slots(
        kv=[torch.empty(shape, device=device, dtype=dtype) for _ in range(config.layers)],
        page_table=per_slot(torch.int32, position_pages(positions), fill=NULL_PAGE),
        text_table=per_slot(torch.int32, ROWS, text_pages(text_length), fill=NULL_PAGE),
        tokens=per_slot(torch.long, config.codebooks, positions + 1, fill=config.pad_token),
        position=per_slot(torch.long, fill=0),
        guidance=per_slot(torch.float32),
        temperature=per_slot(torch.float32),
        top_k=per_slot(torch.long),
        top_p=per_slot(torch.float32),
        seed=per_slot(torch.long, fill=0),
        greedy=per_slot(torch.bool, fill=0),
        nonfinite=per_slot(torch.bool, fill=0),
        text_tokens=per_slot(torch.long, ROWS, fill=0),
        active=per_slot(torch.bool, fill=0),
    )


@dataclass(frozen=True)
class BatchView:
    """Views of a run of slots; attention sees no position from `length` on, nor more than `text_length` tokens."""

    state: Slots  # its per-slot tensors, and all pages
    length: int
    text_length: int
    text_rows: int  # of each slot that attend to a text: 1, the conditional one, or both if any has a negative prompt


def batch_view(
    slots: Slots, first: int, count: int, length: int, text_length: int, text_rows: int = 1
) -> BatchView:  # fmt: skip
    """Return the views of `count` slots from `first`, to be reused until the run changes."""
    per_slot: dict[str, Any] = {name: tensor[first : first + count] for name, tensor in slots.per_slot().items()}
    return BatchView(Slots(kv=slots.kv, **per_slot), length, text_length, text_rows)
