"""Sample the next tokens: guidance, temperature, top-k, top-p, Gumbel noise and the delay pattern in one kernel.

It samples the tokens that `step.sampling` does from the same logits unless some are equal: all logits equal to the last
that top-k or top-p keeps are kept. Nothing is sorted: that last one is found bit by bit.
"""
# pyright: reportUnknownParameterType=false, reportMissingParameterType=false, reportUnknownArgumentType=false
# pyright: reportUnknownVariableType=false, reportUnknownMemberType=false
# A kernel's arguments are pointers and scalars, which Triton's language has no types for.

import torch
import triton.language as tl

from musicgen_serving.engine.kernels.jit import kernel
from musicgen_serving.engine.step import delay_pattern, sampling
from musicgen_serving.engine.step.slots import Slots

SEED, POSITION, TOKEN = (tl.constexpr(one) for one in (sampling.SEED, sampling.POSITION, sampling.TOKEN))
(SHIFT, FACTOR), (NEXT_SHIFT, NEXT_FACTOR) = (map(tl.constexpr, pair) for pair in sampling.FINALISER)
TO_GENERATE = tl.constexpr(delay_pattern.TO_GENERATE)
LOWEST = tl.constexpr(-(2**31))
INFINITY = tl.constexpr(float("inf"))
WARPS = 8


def sample(logits: torch.Tensor, state: Slots, arrived: torch.Tensor) -> None:
    """Sample the active slots' next tokens from logits [2n, K * V], float32, and advance those slots.

    `arrived` [n], int32, is zero before and after.
    """
    slots, codebooks, places = state.tokens.shape
    vocabulary = logits.shape[1] // codebooks
    sample_kernel[codebooks, slots](
        logits, state.tokens, state.position, state.active, state.nonfinite, state.guidance, state.temperature,
        state.top_k, state.top_p, state.greedy, state.seed, arrived, places,
        CODEBOOKS=codebooks, VOCABULARY=vocabulary, LANES=1 << (vocabulary - 1).bit_length(), num_warps=WARPS,
    )  # fmt: skip


@kernel
def sample_kernel(
    logits, tokens, position, active, nonfinite, guidance, temperature, top_k, top_p, greedy, seed, arrived, places,
    CODEBOOKS: tl.constexpr, VOCABULARY: tl.constexpr, LANES: tl.constexpr,
):  # fmt: skip
    """Write the next tokens of n slots and advance them; programs are (codebooks, n).

    logits [2n, K * V], float32; tokens [n, K, places]; `arrived` [n] is zero between launches; the rest are [n], as in
    Slots. An inactive slot is left unchanged.
    """
    codebook, slot = tl.program_id(0), tl.program_id(1)
    if tl.load(active + slot):
        here = tl.load(position + slot)
        lane = tl.arange(0, LANES)
        real = lane < VOCABULARY
        first = logits + (2 * slot * CODEBOOKS + codebook) * VOCABULARY + lane
        conditional = tl.load(first, mask=real, other=0.0)
        unconditional = tl.load(first + CODEBOOKS * VOCABULARY, mask=real, other=0.0)
        scale = tl.load(guidance + slot)
        mixed = unconditional + (conditional - unconditional) * scale
        value = tl.where(real, tl.where(scale == 1, conditional, mixed), -INFINITY)
        wrong = tl.sum(((value != value) | (value == INFINITY)).to(tl.int32), axis=0)
        if (wrong > 0) | (tl.max(value, axis=0) == -INFINITY):  # some minus infinity, which masks a token, is valid
            tl.store(nonfinite + slot, True)  # every codebook writes the same value
        scaled = tl.math.div_rn(value, tl.load(temperature + slot))
        kept = top_k_top_p_mask(value, scaled, real, tl.load(top_k + slot), tl.load(top_p + slot))
        noise = gumbel(tl.load(seed + slot), here, (codebook * VOCABULARY + lane).to(tl.int64))
        score = tl.where(tl.load(greedy + slot), value, tl.where(kept, scaled + noise, -INFINITY))
        sampled = tl.argmax(tl.where(score == score, score, -INFINITY), axis=0).to(tl.int64)  # NaN is never sampled
        target = tokens + (slot * CODEBOOKS + codebook) * places + here + 1
        planned = tl.load(target)  # padding, a prompt's token or TO_GENERATE
        tl.store(target, tl.where(planned == TO_GENERATE, sampled, planned))
        tl.debug_barrier()
        if tl.atomic_add(arrived + slot, 1, sem="acq_rel") == CODEBOOKS - 1:  # all have read the position
            tl.store(position + slot, here + 1)
            tl.store(arrived + slot, 0)


@kernel
def top_k_top_p_mask(value, scaled, real, top_k, top_p):
    """Return which values are among the top_k largest and, of those, in the smallest set of probability top_p."""
    bits = value.to(tl.int32, bitcast=True)
    order = tl.where(real, bits ^ ((bits >> 31) & 0x7FFFFFFF), LOWEST)  # integers in the order of the values
    kept = real & (order >= smallest_kept(order, real.to(tl.float32), top_k.to(tl.float32)))
    if top_p < 1:
        mass = tl.where(kept, tl.exp(scaled - tl.max(scaled, axis=0)), 0.0)
        kept = kept & (order >= smallest_kept(order, mass, top_p * tl.sum(mass, axis=0)))
    return kept


@kernel
def smallest_kept(order, mass, wanted):
    """Return the largest threshold for which elements of `order` not below it have at least the mass `wanted`."""
    last = tl.where(tl.sum(tl.where(order >= 0, mass, 0.0), axis=0) >= wanted, 0, LOWEST)
    for bit in range(31):
        higher = last + (1 << (30 - bit))
        last = tl.where(tl.sum(tl.where(order >= higher, mass, 0.0), axis=0) >= wanted, higher, last)
    return last


@kernel
def gumbel(seed, position, index):
    """Return Gumbel noise, which makes argmax a sample of the softmax: the hash of `step.sampling` for each index."""
    x = seed * SEED + position * POSITION + index * TOKEN
    x = xor_shift(xor_shift(x, SHIFT) * FACTOR, NEXT_SHIFT) * NEXT_FACTOR
    x = xor_shift(x, 31)
    uniform = (((x >> 41) & 0x7FFFFF).to(tl.float32) + 0.5) * 1.1920928955078125e-07  # 2 ** -23
    return -tl.log(-tl.log(uniform))


@kernel
def xor_shift(x, SHIFT: tl.constexpr):
    """Return x ^ (x >>> SHIFT) of 64 bits."""
    return x ^ (x.to(tl.uint64) >> SHIFT).to(tl.int64)
