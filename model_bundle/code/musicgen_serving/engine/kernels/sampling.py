"""Drawing the next tokens: guidance, temperature, top-k, top-p, Gumbel noise and the delay pattern in one kernel.

It draws the tokens that `engine.sampling` draws from the same logits, as long as none are equal: where some are equal
to the last that top-k or top-p keeps, all of them are kept. Nothing is sorted: that last one is found bit by bit.
"""
# pyright: reportUnknownParameterType=false, reportMissingParameterType=false, reportUnknownArgumentType=false
# pyright: reportUnknownVariableType=false, reportUnknownMemberType=false
# A kernel's arguments are pointers and numbers, which Triton's language has no types for.

import triton.language as tl

from musicgen_serving.engine import delay_pattern, sampling
from musicgen_serving.engine.kernels.kernel import kernel

SEED, POSITION, TOKEN = (tl.constexpr(one) for one in (sampling.SEED, sampling.POSITION, sampling.TOKEN))
(SHIFT, FACTOR), (NEXT_SHIFT, NEXT_FACTOR) = (map(tl.constexpr, pair) for pair in sampling.FINALISER)
TO_GENERATE = tl.constexpr(delay_pattern.TO_GENERATE)
LOWEST = tl.constexpr(-(2**31))
INFINITY = tl.constexpr(float("inf"))


@kernel
def sample_kernel(
    logits, tokens, position, active, broken, guidance, temperature, top_k, top_p, greedy, seed, arrived, places,
    CODEBOOKS: tl.constexpr, VOCABULARY: tl.constexpr, LANES: tl.constexpr,
):  # fmt: skip
    """Write the next tokens of n slots and advance them; programs are (codebooks, n).

    logits [2n, K * V], float32; tokens [n, K, places]; `arrived` [n] is zero between launches; the rest are [n], as in
    Slots. A slot that is not active is left as it is.
    """
    codebook, slot = tl.program_id(0), tl.program_id(1)
    if tl.load(active + slot):
        here = tl.load(position + slot)
        lane = tl.arange(0, LANES)
        first = logits + (2 * slot * CODEBOOKS + codebook) * VOCABULARY + lane
        value = guided(first, CODEBOOKS * VOCABULARY, lane < VOCABULARY, tl.load(guidance + slot))
        if not_finite(value):
            tl.store(broken + slot, True)  # any codebook may: all write the same
        scaled = tl.math.div_rn(value, tl.load(temperature + slot))
        kept = likeliest(value, scaled, lane < VOCABULARY, tl.load(top_k + slot), tl.load(top_p + slot))
        noise = gumbel(tl.load(seed + slot), here, (codebook * VOCABULARY + lane).to(tl.int64))
        score = tl.where(tl.load(greedy + slot), value, tl.where(kept, scaled + noise, -INFINITY))
        drawn = tl.argmax(tl.where(score == score, score, -INFINITY), axis=0).to(tl.int64)  # of what is a number
        there = tokens + (slot * CODEBOOKS + codebook) * places + here + 1
        planned = tl.load(there)  # what the pattern or a prompt has there
        tl.store(there, tl.where(planned == TO_GENERATE, drawn, planned))
        tl.debug_barrier()
        if tl.atomic_add(arrived + slot, 1, sem="acq_rel") == CODEBOOKS - 1:  # all have read the position
            tl.store(position + slot, here + 1)
            tl.store(arrived + slot, 0)


@kernel
def guided(first, apart, real, scale):
    """Classifier-free guidance; the unconditional logits lie `apart` from the conditional ones, at `first`."""
    conditional = tl.load(first, mask=real, other=0.0)
    unconditional = tl.load(first + apart, mask=real, other=0.0)
    mixed = unconditional + (conditional - unconditional) * scale
    return tl.where(real, tl.where(scale == 1, conditional, mixed), -INFINITY)


@kernel
def not_finite(value):
    """Whether any value is NaN or infinity, or all are minus infinity: one alone is a token that cannot be."""
    wrong = tl.sum(((value != value) | (value == INFINITY)).to(tl.int32), axis=0)
    return (wrong > 0) | (tl.max(value, axis=0) == -INFINITY)


@kernel
def likeliest(value, scaled, real, top_k, top_p):
    """Which values are among the top_k largest, and of those in the smallest set of probability top_p."""
    bits = value.to(tl.int32, bitcast=True)
    order = tl.where(real, bits ^ ((bits >> 31) & 0x7FFFFFFF), LOWEST)  # of integers as of the numbers
    kept = real & (order >= last_of(order, real.to(tl.float32), top_k.to(tl.float32)))
    if top_p < 1:
        mass = tl.where(kept, tl.exp(scaled - tl.max(scaled, axis=0)), 0.0)
        kept = kept & (order >= last_of(order, mass, top_p * tl.sum(mass, axis=0)))
    return kept


@kernel
def last_of(order, mass, enough):
    """The largest number such that what is not below it in `order` has at least the mass `enough`."""
    last = tl.where(tl.sum(tl.where(order >= 0, mass, 0.0), axis=0) >= enough, 0, LOWEST)
    for bit in range(31):
        higher = last + (1 << (30 - bit))
        last = tl.where(tl.sum(tl.where(order >= higher, mass, 0.0), axis=0) >= enough, higher, last)
    return last


@kernel
def gumbel(seed, position, index):
    """Noise that makes argmax a draw from the softmax: the hash of `engine.sampling`, for each index."""
    x = seed * SEED + position * POSITION + index * TOKEN
    x = folded(folded(x, SHIFT) * FACTOR, NEXT_SHIFT) * NEXT_FACTOR
    x = folded(x, 31)
    uniform = (((x >> 41) & 0x7FFFFF).to(tl.float32) + 0.5) * 1.1920928955078125e-07  # 2 ** -23
    return -tl.log(-tl.log(uniform))


@kernel
def folded(x, SHIFT: tl.constexpr):
    """64 bits, and the upper ones of them over the lower."""
    return x ^ (x.to(tl.uint64) >> SHIFT).to(tl.int64)
