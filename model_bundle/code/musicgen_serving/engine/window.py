"""What a step over a run of slots reads and writes, as views that are made once and serve until the run changes."""

from dataclasses import dataclass

import torch

from musicgen_serving.engine.slots import ROWS, Slots


@dataclass(frozen=True)
class LayerViews:
    """One layer's caches for n slots."""

    cache: torch.Tensor  # [2n, 2, heads, P, head size], to write to
    keys: torch.Tensor  # [2n, heads, length, head size]
    values: torch.Tensor
    cross_keys: torch.Tensor  # [n, heads, text, head size]
    cross_values: torch.Tensor


@dataclass(frozen=True)
class Window:
    """`state` has the run's rows of every per-slot tensor; attention sees `length` positions and `text` text tokens."""

    state: Slots
    layers: tuple[LayerViews, ...]
    cross_mask: torch.Tensor  # [n, 1, 1, text]
    length: int


def window(slots: Slots, first: int, count: int, length: int, text: int) -> Window:
    """The views for `count` slots from `first`."""
    run, rows = slice(first, first + count), slice(ROWS * first, ROWS * (first + count))
    layers = (
        _layer(cache[rows], cross[run], length, text) for cache, cross in zip(slots.cache, slots.cross, strict=True)
    )
    state = Slots(
        cache=[], cross=[], cross_mask=slots.cross_mask[run], tokens=slots.tokens[run], position=slots.position[run],
        guidance=slots.guidance[run], temperature=slots.temperature[run], top_k=slots.top_k[run],
        top_p=slots.top_p[run], seed=slots.seed[run], greedy=slots.greedy[run], broken=slots.broken[run],
        text_tokens=slots.text_tokens[run], active=slots.active[run],
    )  # fmt: skip
    return Window(state, tuple(layers), slots.cross_mask[run, :, :, :text], length)


def _layer(cache: torch.Tensor, cross: torch.Tensor, length: int, text: int) -> LayerViews:
    keys, values = cache[:, :, :, :length].unbind(1)
    cross_keys, cross_values = cross[:, :, :, :text].unbind(1)
    return LayerViews(cache, keys, values, cross_keys, cross_values)
