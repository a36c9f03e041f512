"""What launches attention, and the memory in which programs that share a sequence meet."""

from dataclasses import dataclass
from typing import Self

import torch

from musicgen_serving.engine.kernels.attention import attention_kernel, cross_attention_kernel

BLOCK = 64  # positions at a time: 8 KiB of keys, as many of values
PROGRAMS = 1024  # about what an H100 holds at once: six by their registers on each of 132 multiprocessors
WARPS = 4


@dataclass(frozen=True, kw_only=True)
class Spans:
    """How sequences are cut for a number of rows and heads; unmeasured, as the table of tiles is.

    Zero between launches is `arrived` only.
    """

    span: int  # positions
    splits: int  # a power of two, of what the longest sequence is cut into
    partial: torch.Tensor  # [rows * heads * splits * size], float32
    peaks: torch.Tensor  # [rows * heads * splits], float32
    sums: torch.Tensor
    arrived: torch.Tensor  # [rows * heads], int32

    @classmethod
    def empty(
        cls, rows: int, heads: int, size: int, positions: int, device: torch.device, programs: int = PROGRAMS
    ) -> Self:
        """The shortest spans for which no more than `programs` have work at once."""
        pairs, span = rows * heads, BLOCK
        while span < positions and pairs * -(-positions // span) > programs:
            span *= 2
        splits = 1 << (-(-positions // span) - 1).bit_length()

        def numbers(count: int) -> torch.Tensor:
            return torch.empty(count, device=device)

        return cls(
            span=span, splits=splits, partial=numbers(pairs * splits * size), peaks=numbers(pairs * splits),
            sums=numbers(pairs * splits), arrived=torch.zeros(pairs, device=device, dtype=torch.int32),
        )  # fmt: skip


def attend(
    qkv: torch.Tensor, cache: torch.Tensor, position: torch.Tensor, active: torch.Tensor, out: torch.Tensor,
    spans: Spans, length: int,
) -> None:  # fmt: skip
    """out [2n, H]: causal attention at each slot's position [n], after adding its key and value to the cache.

    qkv [2n, 3H], cache [2n, 2, heads, P, size]; no active slot may be at a position from `length` on.
    """
    rows, _, heads, capacity, size = cache.shape
    attention_kernel[heads, rows, -(-length // spans.span)](
        qkv, cache, position, active, out, spans.partial, spans.peaks, spans.sums, spans.arrived,
        heads, capacity, spans.span, SIZE=size, BLOCK=BLOCK, SPLITS=spans.splits, num_warps=WARPS,
    )  # fmt: skip


def attend_to_text(
    queries: torch.Tensor, keys: torch.Tensor, tokens: torch.Tensor, active: torch.Tensor, out: torch.Tensor
) -> None:
    """out [n, H]: attention of queries [n, H] to the first `tokens` [n] of each slot's text.

    `keys` [n, heads, text, size] are a view of [n, 2 (key, value), heads, T, size], where the values follow them.
    """
    slots, heads, _, size = keys.shape
    cross_attention_kernel[heads, slots](
        queries, keys, tokens, active, out, heads, keys.stride(1) // size, keys.stride(0),
        SIZE=size, BLOCK=BLOCK, num_warps=WARPS,
    )  # fmt: skip
