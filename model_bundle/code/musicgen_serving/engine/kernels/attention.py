"""Attention of one position over the KV cache: only what a slot holds is read, and programs share a long sequence.

A sequence is cut into spans; a program has one span of one row and head (flash decoding, Dao et al. 2023). A program
whose span is beyond its slot's position ends at once: the length is read on the device, so one CUDA graph serves all
lengths up to its bound. The program that finishes last for a row and head merges the spans, in their order.
"""
# pyright: reportUnknownParameterType=false, reportMissingParameterType=false, reportUnknownArgumentType=false
# pyright: reportUnknownVariableType=false, reportUnknownMemberType=false
# A kernel's arguments are pointers and scalars, which Triton's language has no types for.

import torch
import triton.language as tl

from musicgen_serving.engine.kernels.jit import kernel

BLOCK = 64  # positions at a time: 8 KiB of keys, and of values
MAX_PROGRAMS = 1024  # about what an H100 holds at once: six by their registers on each of 132 multiprocessors
WARPS = 4
MASKED = tl.constexpr(-1e30)  # a score below all others; not infinity, because infinity minus itself is NaN
LOG2_E = tl.constexpr(1.4426950408889634)  # scores are multiplied by it, because a GPU computes powers of two


class SpanWorkspace:
    """How sequences are cut into spans, and where programs leave their parts; unmeasured, as the table of tiles is.

    The spans are the shortest for which at most `max_programs` have work at once. Only `arrived` must be zero between
    launches.
    """

    def __init__(
        self, rows: int, heads: int, size: int, positions: int, device: torch.device, max_programs: int = MAX_PROGRAMS
    ) -> None:
        pairs, span = rows * heads, BLOCK
        while span < positions and pairs * -(-positions // span) > max_programs:
            span *= 2
        self.span = span  # positions
        self.splits = 1 << (-(-positions // span) - 1).bit_length()  # a power of two: spans of the longest sequence
        self.partial = torch.empty(pairs * self.splits * size, device=device)
        self.peaks = torch.empty(pairs * self.splits, device=device)
        self.sums = torch.empty(pairs * self.splits, device=device)
        self.arrived = torch.zeros(pairs, device=device, dtype=torch.int32)


def attend(
    qkv: torch.Tensor, kv: torch.Tensor, position: torch.Tensor, active: torch.Tensor, length: int, out: torch.Tensor,
    spans: SpanWorkspace,
) -> None:  # fmt: skip
    """Write causal attention out [2n, H] of qkv [2n, 3H] at each slot's position, after extending the cache by it.

    kv [2n, 2 (key, value), heads, P, size]; position and active [n]. No active slot may be at `length` or beyond.
    """
    rows, _, heads, capacity, size = kv.shape
    attention_kernel[heads, rows, -(-length // spans.span)](
        qkv, kv, position, active, out, spans.partial, spans.peaks, spans.sums, spans.arrived, heads, capacity,
        spans.span, SIZE=size, BLOCK=BLOCK, SPLITS=spans.splits, num_warps=WARPS,
    )  # fmt: skip


def attend_to_text(
    queries: torch.Tensor, keys: torch.Tensor, tokens: torch.Tensor, active: torch.Tensor, out: torch.Tensor
) -> None:
    """Write attention out [n, H] of queries [n, H] to the first `tokens` [n] of each slot's text.

    `keys` [n, heads, text, size] are a view of [n, 2 (key, value), heads, T, size], in which the values follow.
    """
    slots, heads, _, size = keys.shape
    cross_attention_kernel[heads, slots](
        queries, keys, tokens, active, out, heads, keys.stride(1) // size, keys.stride(0),
        SIZE=size, BLOCK=BLOCK, num_warps=WARPS,
    )  # fmt: skip


@kernel
def attention_kernel(
    qkv, cache, position, active, out, partial, peaks, sums, arrived, heads, capacity, span,
    SIZE: tl.constexpr, BLOCK: tl.constexpr, SPLITS: tl.constexpr,
):  # fmt: skip
    """Compute `attend`; programs are (heads, 2n, splits), in the order of spans."""
    head, row, split = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    here = tl.load(position + row // 2).to(tl.int32)
    if (split * span <= here) & tl.load(active + row // 2):
        own = tl.arange(0, SIZE) + head * SIZE
        query = scale_query(tl.load(qkv + row * (3 * heads * SIZE) + own), SIZE)
        keys = cache + (row * 2 * heads + head).to(tl.int64) * capacity * SIZE
        values = keys + heads * capacity * SIZE
        peak, total, acc = attend_span(
            query, keys, values, split * span, tl.minimum(split * span + span, here), SIZE, BLOCK
        )
        if split == here // span:  # the one program whose span holds this position
            fresh = qkv + row * (3 * heads * SIZE) + heads * SIZE + own
            key, value = tl.load(fresh), tl.load(fresh + heads * SIZE)
            tl.store(keys + here * SIZE + tl.arange(0, SIZE), key)
            tl.store(values + here * SIZE + tl.arange(0, SIZE), value)
            peak, total, acc = attend_one_more(query, key, value, peak, total, acc)
        last, pair = here < span, row * heads + head
        if here >= span:
            peak, total, acc, last = merge_spans(
                peak, total, acc, partial, peaks, sums, arrived, pair, split, here // span + 1, SIZE, SPLITS
            )
        if last:
            tl.store(out + row * (heads * SIZE) + own, acc / total)


@kernel
def cross_attention_kernel(
    queries, keys, tokens, active, out, heads, capacity, slot_stride,
    SIZE: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Compute `attend_to_text`; slots are `slot_stride` elements apart in `keys`, and programs are (heads, n)."""
    head, slot = tl.program_id(0), tl.program_id(1)
    if tl.load(active + slot):
        own = slot * (heads * SIZE) + head * SIZE + tl.arange(0, SIZE)
        first = keys + slot.to(tl.int64) * slot_stride + head * capacity * SIZE
        count = tl.load(tokens + slot).to(tl.int32)
        query = scale_query(tl.load(queries + own), SIZE)
        _, total, acc = attend_span(query, first, first + heads * capacity * SIZE, 0, count, SIZE, BLOCK)
        tl.store(out + own, acc / tl.where(total == 0, 1.0, total))


@kernel
def scale_query(query, SIZE: tl.constexpr):
    """Scale a query [size] so that 2 to the power of its products with keys gives the softmax's numerators."""
    return query.to(tl.float32) * (LOG2_E / tl.sqrt(SIZE * 1.0))


@kernel
def attend_span(query, keys, values, begin, end, SIZE: tl.constexpr, BLOCK: tl.constexpr):
    """Return softmax's peak, the sum of numerators and the weighted values [size] over positions from begin to end.

    Each of BLOCK lanes keeps its own softmax over every BLOCK-th position, and they are merged once at the end: inside
    the loop no lane waits for another, except for a score's sum over `size`.
    """
    lane, element = tl.arange(0, BLOCK), tl.arange(0, SIZE)
    peak = tl.full((BLOCK,), MASKED, dtype=tl.float32)
    total = tl.zeros((BLOCK,), dtype=tl.float32)
    acc = tl.zeros((BLOCK, SIZE), dtype=tl.float32)
    for start in range(begin, end, BLOCK):
        real = start + lane < end
        there = (start + lane)[:, None] * SIZE + element[None, :]
        key = tl.load(keys + there, mask=real[:, None], other=0.0)
        value = tl.load(values + there, mask=real[:, None], other=0.0)
        score = tl.where(real, tl.sum(key.to(tl.float32) * query[None, :], axis=1), MASKED)
        higher = tl.maximum(peak, score)
        kept, weight = tl.exp2(peak - higher), tl.where(real, tl.exp2(score - higher), 0.0)
        total = total * kept + weight
        acc = acc * kept[:, None] + value.to(tl.float32) * weight[:, None]
        peak = higher
    highest = tl.max(peak, axis=0)
    kept = tl.exp2(peak - highest)
    return highest, tl.sum(total * kept, axis=0), tl.sum(acc * kept[:, None], axis=0)


@kernel
def attend_one_more(query, key, value, peak, total, acc):
    """Extend the softmax by one position with this key and value [size]."""
    score = tl.sum(query * key.to(tl.float32), axis=0)
    higher = tl.maximum(peak, score)
    kept, weight = tl.exp2(peak - higher), tl.exp2(score - higher)
    return higher, total * kept + weight, acc * kept + value.to(tl.float32) * weight


@kernel
def merge_spans(
    peak, total, acc, partial, peaks, sums, arrived, pair, split, count, SIZE: tl.constexpr, SPLITS: tl.constexpr
):
    """Merge all `count` spans of a row and head in the program that finishes last; return also if it is this one."""
    element, spans = tl.arange(0, SIZE), pair * SPLITS + tl.arange(0, SPLITS)
    tl.store(partial + (pair * SPLITS + split) * SIZE + element, acc)
    tl.store(peaks + pair * SPLITS + split, peak)
    tl.store(sums + pair * SPLITS + split, total)
    tl.debug_barrier()  # all of this program's threads have written before it counts itself
    last = tl.atomic_add(arrived + pair, 1, sem="acq_rel") == count - 1
    if last:
        real = tl.arange(0, SPLITS) < count
        # written by other programs: bypass L1
        each = tl.load(peaks + spans, mask=real, other=MASKED, cache_modifier=".cg")
        there = partial + spans[:, None] * SIZE + element[None, :]
        parts = tl.load(there, mask=real[:, None], other=0.0, cache_modifier=".cg")
        peak = tl.max(each, axis=0)
        kept = tl.exp2(each - peak)
        total = tl.sum(tl.load(sums + spans, mask=real, other=0.0, cache_modifier=".cg") * kept, axis=0)
        acc = tl.sum(parts * kept[:, None], axis=0)
        tl.store(arrived + pair, 0)  # for the next launch
    return peak, total, acc, last
