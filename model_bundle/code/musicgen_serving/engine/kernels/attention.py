"""Attention of one position over what is cached: only what a slot has is read, and many programs share a long sequence.

A sequence is cut into spans; a program has one span of one row and head (flash decoding, Dao et al. 2023). Where the
slot has not come as far as a span, its program ends at once: the length is read on the device, so one CUDA graph serves
all lengths up to its bound. The program that finishes last of a row and head puts the spans together, in their order.
"""
# pyright: reportUnknownParameterType=false, reportMissingParameterType=false, reportUnknownArgumentType=false
# pyright: reportUnknownVariableType=false, reportUnknownMemberType=false
# A kernel's arguments are pointers and numbers, which Triton's language has no types for.

import triton.language as tl

from musicgen_serving.engine.kernels.kernel import kernel

UNSEEN = tl.constexpr(-1e30)  # a score below all; not infinity, whose difference with itself is no number
LOG2_E = tl.constexpr(1.4426950408889634)  # scores are taken times it, because powers of two are what a GPU computes


@kernel
def attention_kernel(
    qkv, cache, position, active, out, partial, peaks, sums, arrived, heads, capacity, span,
    SIZE: tl.constexpr, BLOCK: tl.constexpr, SPLITS: tl.constexpr,
):  # fmt: skip
    """out [2n, H]: queries over the keys and values before them and their own, which go into the cache here.

    qkv [2n, 3H]; cache [2n, 2, heads, capacity, size]; position and active [n]. Programs are (heads, 2n, splits), the
    spans that every slot has first.
    """
    head, row, split = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    here = tl.load(position + row // 2).to(tl.int32)
    if (split * span <= here) & tl.load(active + row // 2):
        own = tl.arange(0, SIZE) + head * SIZE
        query = scaled(tl.load(qkv + row * (3 * heads * SIZE) + own), SIZE)
        keys = cache + (row * 2 * heads + head).to(tl.int64) * capacity * SIZE
        values = keys + heads * capacity * SIZE
        peak, total, seen = over(query, keys, values, split * span, tl.minimum(split * span + span, here), SIZE, BLOCK)
        if split == here // span:  # the one program whose span has this position
            fresh = qkv + row * (3 * heads * SIZE) + heads * SIZE + own
            key, value = tl.load(fresh), tl.load(fresh + heads * SIZE)
            tl.store(keys + here * SIZE + tl.arange(0, SIZE), key)
            tl.store(values + here * SIZE + tl.arange(0, SIZE), value)
            peak, total, seen = with_one_more(query, key, value, peak, total, seen)
        last, pair = here < span, row * heads + head
        if here >= span:
            peak, total, seen, last = put_together(
                peak, total, seen, partial, peaks, sums, arrived, pair, split, here // span + 1, SIZE, SPLITS
            )
        if last:
            tl.store(out + row * (heads * SIZE) + own, seen / total)


@kernel
def cross_attention_kernel(
    queries, keys, tokens, active, out, heads, capacity, stride,
    SIZE: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """out [n, H]: the conditional rows' queries [n, H] over the first `tokens` [n] of their slots' text.

    keys [n, 2 (and values), heads, capacity, size], a slot's `stride` numbers apart. Programs are (heads, n).
    """
    head, slot = tl.program_id(0), tl.program_id(1)
    if tl.load(active + slot):
        own = slot * (heads * SIZE) + head * SIZE + tl.arange(0, SIZE)
        first = keys + slot.to(tl.int64) * stride + head * capacity * SIZE
        count = tl.load(tokens + slot).to(tl.int32)
        query = scaled(tl.load(queries + own), SIZE)
        _, total, seen = over(query, first, first + heads * capacity * SIZE, 0, count, SIZE, BLOCK)
        tl.store(out + own, seen / tl.where(total == 0, 1.0, total))


@kernel
def scaled(query, SIZE: tl.constexpr):
    """A query [size] such that 2 to the power of its products with keys are softmax's numerators."""
    return query.to(tl.float32) * (LOG2_E / tl.sqrt(SIZE * 1.0))


@kernel
def over(query, keys, values, begin, end, SIZE: tl.constexpr, BLOCK: tl.constexpr):
    """Softmax's peak, the sum of numerators and the values weighted by them [size], over positions from begin to end.

    Each of BLOCK lanes has a softmax of its own over every BLOCK-th position, and they are put together once at the
    end: inside the loop nothing waits for another lane but a score's sum over `size`.
    """
    lane, number = tl.arange(0, BLOCK), tl.arange(0, SIZE)
    peak = tl.full((BLOCK,), UNSEEN, dtype=tl.float32)
    total = tl.zeros((BLOCK,), dtype=tl.float32)
    seen = tl.zeros((BLOCK, SIZE), dtype=tl.float32)
    for start in range(begin, end, BLOCK):
        real = start + lane < end
        there = (start + lane)[:, None] * SIZE + number[None, :]
        key = tl.load(keys + there, mask=real[:, None], other=0.0)
        value = tl.load(values + there, mask=real[:, None], other=0.0)
        score = tl.where(real, tl.sum(key.to(tl.float32) * query[None, :], axis=1), UNSEEN)
        higher = tl.maximum(peak, score)
        kept, weight = tl.exp2(peak - higher), tl.where(real, tl.exp2(score - higher), 0.0)
        total = total * kept + weight
        seen = seen * kept[:, None] + value.to(tl.float32) * weight[:, None]
        peak = higher
    highest = tl.max(peak, axis=0)
    kept = tl.exp2(peak - highest)
    return highest, tl.sum(total * kept, axis=0), tl.sum(seen * kept[:, None], axis=0)


@kernel
def with_one_more(query, key, value, peak, total, seen):
    """The same over one position more, whose key and value [size] are given."""
    score = tl.sum(query * key.to(tl.float32), axis=0)
    higher = tl.maximum(peak, score)
    kept, weight = tl.exp2(peak - higher), tl.exp2(score - higher)
    return higher, total * kept + weight, seen * kept + value.to(tl.float32) * weight


@kernel
def put_together(
    peak, total, seen, partial, peaks, sums, arrived, pair, split, count, SIZE: tl.constexpr, SPLITS: tl.constexpr
):
    """The same over all `count` spans of a row and head, in the program that is last, and whether this one is."""
    number, spans = tl.arange(0, SIZE), pair * SPLITS + tl.arange(0, SPLITS)
    tl.store(partial + (pair * SPLITS + split) * SIZE + number, seen)
    tl.store(peaks + pair * SPLITS + split, peak)
    tl.store(sums + pair * SPLITS + split, total)
    tl.debug_barrier()  # all of this program's threads have written before it says so
    last = tl.atomic_add(arrived + pair, 1, sem="acq_rel") == count - 1
    if last:
        real = tl.arange(0, SPLITS) < count
        each = tl.load(peaks + spans, mask=real, other=UNSEEN, cache_modifier=".cg")  # others wrote it: not from L1
        parts = tl.load(
            partial + spans[:, None] * SIZE + number[None, :], mask=real[:, None], other=0.0, cache_modifier=".cg"
        )
        peak = tl.max(each, axis=0)
        kept = tl.exp2(each - peak)
        total = tl.sum(tl.load(sums + spans, mask=real, other=0.0, cache_modifier=".cg") * kept, axis=0)
        seen = tl.sum(parts * kept[:, None], axis=0)
        tl.store(arrived + pair, 0)  # for the next launch
    return peak, total, seen, last
