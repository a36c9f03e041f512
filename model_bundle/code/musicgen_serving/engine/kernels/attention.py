"""Attention of one position over KV pages: only what a clip has is read, and programs share a long sequence.

A sequence is cut into spans; a program has one span of one row and head (flash decoding, Dao et al. 2023). A program
whose span is beyond its slot's position ends at once: the length is read on the device, so one CUDA graph serves all
lengths up to its bound. The program that finishes last for a row and head merges the spans, in their order. Spans have
the same length in every step, so a clip's attention is bit-identical alone and in any batch.
"""
# pyright: reportUnknownParameterType=false, reportMissingParameterType=false, reportUnknownArgumentType=false
# pyright: reportUnknownVariableType=false, reportUnknownMemberType=false
# A kernel's arguments are pointers and scalars, which Triton's language has no types for.

import torch
import triton.language as tl

from musicgen_serving.engine.kernels.jit import kernel
from musicgen_serving.engine.model.memory import PAGE, ROWS
from musicgen_serving.engine.step.slots import Slots

SPAN = 256  # positions
"""Unmeasured. A clip alone has 64 programs for each span in musicgen-large, 192 on average over 30 seconds; with 16 KiB
in flight in each that is 3 MB, enough for an H100's bandwidth (see `tiles`). In a full batch a shorter span than needed
costs little: a program leaves 264 bytes for the 64 KiB that it has read."""
WARPS = 4
MASKED = tl.constexpr(-1e30)  # a score below all others; not infinity, because infinity minus itself is NaN
LOG2_E = tl.constexpr(1.4426950408889634)  # scores are multiplied by it, because a GPU computes powers of two


class SpanWorkspace:
    """Where the programs of a step of n slots leave their parts, for up to `positions` positions in spans of `span`.

    Only `arrived` must be zero between launches.
    """

    def __init__(
        self, rows: int, heads: int, size: int, positions: int, device: torch.device, span: int = SPAN
    ) -> None:
        if span % PAGE:
            raise ValueError(f"a span must be a multiple of {PAGE} positions, got {span}")
        pairs = rows * heads
        self.span = span
        self.splits = 1 << (-(-positions // span) - 1).bit_length()  # a power of two: spans of the longest sequence
        self.partial = torch.empty(pairs * self.splits * size, device=device)
        self.peaks = torch.empty(pairs * self.splits, device=device)
        self.sums = torch.empty(pairs * self.splits, device=device)
        self.arrived = torch.zeros(pairs, device=device, dtype=torch.int32)


def attend(qkv: torch.Tensor, pages: torch.Tensor, state: Slots, length: int, out: torch.Tensor,
    spans: SpanWorkspace,
) -> None:  # fmt: skip
    """Write causal attention out [2n, H] of qkv [2n, 3H] at each slot's position, after extending its pages by it.

    `pages` are a layer's [2 (key, value), 2 * heads, N * PAGE, size]. No active slot may be at `length` or beyond.
    """
    _, row_heads, capacity, size = pages.shape
    rows, heads = qkv.shape[0], row_heads // ROWS
    attention_kernel[heads, rows, -(-length // spans.span)](
        qkv, pages, state.page_table, state.position, state.active, out,
        spans.partial, spans.peaks, spans.sums, spans.arrived, heads, capacity, state.page_table.stride(0), spans.span,
        SIZE=size, BLOCK=PAGE, SPLITS=spans.splits, num_warps=WARPS,
    )  # fmt: skip


def attend_to_text(queries: torch.Tensor, pages: torch.Tensor, state: Slots, out: torch.Tensor) -> None:
    """Write attention out of queries to the texts in a layer's pages, as in `attend`; zero for a row without one.

    Both are [n, H], of the conditional rows, or [2n, H].
    """
    _, row_heads, capacity, size = pages.shape
    rows, heads = queries.shape[0], row_heads // ROWS
    cross_attention_kernel[heads, rows](
        queries, pages, state.text_table, state.text_tokens, state.active, out, heads, capacity,
        state.text_table.stride(1), ROWS * state.active.shape[0] // rows, SIZE=size, BLOCK=PAGE, num_warps=WARPS,
    )  # fmt: skip


@kernel
def attention_kernel(
    qkv, pages, table, position, active, out, partial, peaks, sums, arrived, heads, capacity, table_stride, span,
    SIZE: tl.constexpr, BLOCK: tl.constexpr, SPLITS: tl.constexpr,
):  # fmt: skip
    """Compute `attend`; programs are (heads, 2n, splits), in the order of spans; a page has BLOCK positions."""
    head, row, split = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    here = tl.load(position + row // 2).to(tl.int32)
    if (split * span <= here) & tl.load(active + row // 2):
        own = tl.arange(0, SIZE) + head * SIZE
        query = scale_query(tl.load(qkv + row * (3 * heads * SIZE) + own), SIZE)
        value_offset = (2 * heads).to(tl.int64) * capacity * SIZE
        keys = pages + (row % 2 * heads + head).to(tl.int64) * capacity * SIZE
        numbers = table + row // 2 * table_stride
        peak, total, acc = attend_span(
            query, keys, value_offset, 0, numbers, split * span, tl.minimum(split * span + span, here), SIZE, BLOCK, 1
        )
        if split == here // span:  # the one program whose span holds this position
            fresh = qkv + row * (3 * heads * SIZE) + heads * SIZE + own
            key, value = tl.load(fresh), tl.load(fresh + heads * SIZE)
            place = keys + (tl.load(numbers + here // BLOCK) * BLOCK + here % BLOCK) * SIZE + tl.arange(0, SIZE)
            tl.store(place, key)
            tl.store(place + value_offset, value)
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
    queries, pages, table, tokens, active, out, heads, capacity, table_stride, stride,
    SIZE: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Compute `attend_to_text`; programs are (heads, rows). A page has BLOCK tokens in each of its two rows.

    Row r of the queries is row r * stride of the 2n rows. Without a text, a program writes zeros and reads no pages.
    """
    head, own_row = tl.program_id(0), tl.program_id(1)
    row = own_row * stride
    if tl.load(active + row // 2):
        own = own_row * (heads * SIZE) + head * SIZE + tl.arange(0, SIZE)
        first = pages + head.to(tl.int64) * capacity * SIZE
        row_offset = heads.to(tl.int64) * capacity * SIZE
        count = tl.load(tokens + row).to(tl.int32)
        query = scale_query(tl.load(queries + own), SIZE)
        _, total, acc = attend_span(
            query, first, 2 * row_offset, row_offset, table + row * table_stride, 0, count, SIZE, BLOCK, 2
        )
        tl.store(out + own, acc / tl.where(total == 0, 1.0, total))


@kernel
def scale_query(query, SIZE: tl.constexpr):
    """Scale a query [size] so that 2 to the power of its products with keys gives the softmax's numerators."""
    return query.to(tl.float32) * (LOG2_E / tl.sqrt(SIZE * 1.0))


@kernel
def attend_span(
    query, keys, value_offset, row_offset, table, begin, end,
    SIZE: tl.constexpr, BLOCK: tl.constexpr, ROWS: tl.constexpr,
):  # fmt: skip
    """Return softmax's peak, the sum of numerators and the weighted values [size] over positions from begin to end.

    `begin` starts a block. Block i is in page table[i // ROWS], in row i % ROWS, each `row_offset` elements further.
    Each of BLOCK lanes keeps its own softmax over every BLOCK-th position, and they are merged once at the end: inside
    the loop no lane waits for another, except for a score's sum over `size`.
    """
    lane, element = tl.arange(0, BLOCK), tl.arange(0, SIZE)
    peak = tl.full((BLOCK,), MASKED, dtype=tl.float32)
    total = tl.zeros((BLOCK,), dtype=tl.float32)
    acc = tl.zeros((BLOCK, SIZE), dtype=tl.float32)
    for start in range(begin, end, BLOCK):
        real = start + lane < end
        page = tl.load(table + start // BLOCK // ROWS)
        there = keys + start // BLOCK % ROWS * row_offset + (page * BLOCK + lane[:, None]) * SIZE + element[None, :]
        key = tl.load(there, mask=real[:, None], other=0.0)
        value = tl.load(there + value_offset, mask=real[:, None], other=0.0)
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
