"""The start of the residual stream: the sum of the codebooks' token embeddings and the position embedding."""
# pyright: reportUnknownParameterType=false, reportMissingParameterType=false, reportUnknownArgumentType=false
# pyright: reportUnknownVariableType=false, reportUnknownMemberType=false
# pyright: reportGeneralTypeIssues=false
# A kernel's arguments are pointers and scalars, which Triton's language has no types for.

import math

import triton.language as tl

from musicgen_serving.engine.kernels.jit import kernel
from musicgen_serving.engine.kernels.linear import STREAM_SCALE, ResidualStream, store_moments
from musicgen_serving.engine.model.weights import DecoderWeights
from musicgen_serving.engine.step.slots import Slots

MAX_CHUNKS = 8  # of the stream, for one program
WARPS = 4


def embed(weights: DecoderWeights, state: Slots, stream: ResidualStream) -> None:
    """Write the active slots' embeddings to the stream [2n, H]."""
    slots, codebooks, places = state.tokens.shape
    hidden = stream.values.shape[1]
    chunks = math.gcd(hidden // stream.chunk, MAX_CHUNKS)
    embed_kernel[hidden // stream.chunk // chunks, slots](
        state.tokens, state.position, state.active, weights.embeddings, weights.positions,
        weights.layers[0].self_norm.weight, stream.values, stream.scaled, stream.means, stream.deviations,
        places, weights.embeddings.shape[0] // codebooks, hidden,
        CODEBOOKS=codebooks, CHUNK=stream.chunk, CHUNKS=chunks, num_warps=WARPS,
    )  # fmt: skip


@kernel
def embed_kernel(
    tokens, position, active, embeddings, positions, gain, stream, scaled, means, deviations, places, table, hidden,
    CODEBOOKS: tl.constexpr, CHUNK: tl.constexpr, CHUNKS: tl.constexpr,
):  # fmt: skip
    """Write both rows of n slots to the stream [2n, hidden], with its statistics (see `linear`).

    tokens [n, K, places]; embeddings [K * table, hidden], positions [P, hidden]; programs are (chunks / CHUNKS, n), of
    CHUNKS chunks each. An inactive slot's rows are left unchanged.
    """
    slot, chunk = tl.program_id(1), tl.program_id(0) * CHUNKS + tl.arange(0, CHUNKS)
    if tl.load(active + slot):
        here = tl.load(position + slot)
        column = chunk[:, None] * CHUNK + tl.arange(0, CHUNK)[None, :]  # [CHUNKS, CHUNK]
        total = tl.load(positions + here * hidden + column).to(tl.float32)
        for codebook in tl.static_range(CODEBOOKS):
            token = tl.load(tokens + (slot * CODEBOOKS + codebook) * places + here)
            total += tl.load(embeddings + (codebook * table + token) * hidden + column).to(tl.float32)
        gained = total * tl.load(gain + column).to(tl.float32) * STREAM_SCALE
        for row in tl.static_range(2):
            first = (2 * slot + row) * hidden
            tl.store(stream + first + column, total)
            tl.store(scaled + first + column, gained)
            store_moments(total, means, deviations, first // CHUNK + chunk, chunk >= 0, CHUNK)
