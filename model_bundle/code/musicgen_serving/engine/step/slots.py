"""The slots' state on the device (KV caches, sampling parameters, tokens) and views of a run of slots."""

from dataclasses import dataclass, fields
from typing import Any

import torch

from musicgen_serving.engine.model.config import DecoderConfig
from musicgen_serving.engine.model.decoder import ROWS, LayerKV
from musicgen_serving.engine.sampling_params import SamplingParams


@dataclass(frozen=True, kw_only=True)
class Slots:
    """S slots for clips of up to P positions and texts of up to T tokens.

    A slot's two rows are adjacent, so any run of slots is one run of rows and a step over it copies nothing. The
    unconditional rows do not attend to the text.
    """

    kv: list[torch.Tensor]  # per layer [2S, 2 (key, value), heads, P, head size]
    cross_kv: list[torch.Tensor]  # per layer [S, 2 (key, value), heads, T, head size]
    cross_mask: torch.Tensor  # [S, 1, 1, T]
    tokens: torch.Tensor  # [S, K, P + 1]
    position: torch.Tensor  # [S], the next to be fed
    guidance: torch.Tensor  # [S], as are the rest
    temperature: torch.Tensor
    top_k: torch.Tensor
    top_p: torch.Tensor
    seed: torch.Tensor
    greedy: torch.Tensor
    nonfinite: torch.Tensor  # whether any logits were NaN or infinite
    text_tokens: torch.Tensor  # of the clip's text
    active: torch.Tensor  # whether steps advance a clip here

    def per_slot(self) -> dict[str, torch.Tensor]:
        """Return every tensor that has one row for each slot, by field."""
        return {one.name: getattr(self, one.name) for one in fields(self) if one.name not in ("kv", "cross_kv")}

    def set_parameters(self, slot: int, params: SamplingParams, seed: int, vocabulary: int) -> None:
        """Write one clip's sampling parameters."""
        self.guidance[slot] = params.guidance_scale
        self.temperature[slot] = params.temperature
        self.top_k[slot] = min(params.top_k or vocabulary, vocabulary)
        self.top_p[slot] = params.top_p
        self.seed[slot] = seed
        self.greedy[slot] = not params.do_sample
        self.nonfinite[slot] = False

    def activate(self, slot: int, position: int, text_tokens: int) -> None:
        """Let steps advance a slot from a position on."""
        self.position[slot] = position
        self.text_tokens[slot] = text_tokens
        self.active[slot] = True

    def deactivate(self, slot: int) -> None:
        """Let steps skip a slot, at position 0, where a step over a run of slots may still read and write its cache."""
        self.active[slot] = False
        self.position[slot] = 0

    def zero_kv_if_nonfinite(self, slot: int, length: int) -> None:
        """Zero a slot's KV cache up to `length` if its logits were not finite, without reading the flag on the host.

        Attention multiplies masked values by zero, and NaN times zero is NaN. Costs what two steps read of this clip.
        """
        for kv in self.kv:
            kv[ROWS * slot : ROWS * (slot + 1), :, :, :length].masked_fill_(self.nonfinite[slot], 0)

    def move(self, source: int, target: int, length: int) -> None:
        """Copy a slot's state, with `length` positions in use, over another's."""
        for tensor in (*self.per_slot().values(), *self.cross_kv):
            tensor[target] = tensor[source]
        for kv in self.kv:
            rows = kv.view(-1, ROWS, *kv.shape[1:])[..., :length, :]
            rows[target] = rows[source]


def allocate(
    config: DecoderConfig, slots: int, positions: int, text_length: int, device: torch.device, dtype: torch.dtype
) -> Slots:
    """Return empty slots. KV caches start at zero because attention multiplies masked values by zero."""

    def caches(rows: int, length: int) -> list[torch.Tensor]:
        shape = (rows, 2, config.heads, length, config.head_size)
        return [torch.zeros(shape, device=device, dtype=dtype) for _ in range(config.layers)]

    def per_slot(dtype: torch.dtype, fill: float = 1) -> torch.Tensor:
        return torch.full((slots,), fill, device=device, dtype=dtype)

    return Slots(
        kv=caches(ROWS * slots, positions),
        cross_kv=caches(slots, text_length),
        cross_mask=torch.ones((slots, 1, 1, text_length), device=device, dtype=torch.bool),
        tokens=torch.full((slots, config.codebooks, positions + 1), config.pad_token, device=device),
        position=per_slot(torch.long, 0),
        guidance=per_slot(torch.float32),
        temperature=per_slot(torch.float32),
        top_k=per_slot(torch.long),
        top_p=per_slot(torch.float32),
        seed=per_slot(torch.long, 0),
        greedy=per_slot(torch.bool, 0),
        nonfinite=per_slot(torch.bool, 0),
        text_tokens=per_slot(torch.long),
        active=per_slot(torch.bool, 0),
    )


def bytes_per_slot(config: DecoderConfig, positions: int, text_length: int, dtype: torch.dtype) -> int:
    """Return the bytes of one slot's KV caches; all else is small."""
    return 2 * config.layers * config.hidden * dtype.itemsize * (ROWS * positions + text_length)


@dataclass(frozen=True)
class BatchView:
    """Views of a run of slots; attention sees `length` positions and as many text tokens as `cross_mask` has."""

    state: Slots  # its per-slot tensors, without the KV caches
    layers: tuple[LayerKV, ...]
    cross_mask: torch.Tensor  # [n, 1, 1, text length]
    length: int


def batch_view(slots: Slots, first: int, count: int, length: int, text_length: int) -> BatchView:
    """Return the views of `count` slots from `first`, to be reused until the run changes."""
    run, rows = slice(first, first + count), slice(ROWS * first, ROWS * (first + count))
    per_slot: dict[str, Any] = {name: tensor[run] for name, tensor in slots.per_slot().items()}
    layers = (
        LayerKV(kv[rows], *kv[rows, :, :, :length].unbind(1), *cross_kv[run, :, :, :text_length].unbind(1))
        for kv, cross_kv in zip(slots.kv, slots.cross_kv, strict=True)
    )
    state = Slots(kv=[], cross_kv=[], **per_slot)
    return BatchView(state, tuple(layers), slots.cross_mask[run, :, :, :text_length], length)
