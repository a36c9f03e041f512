"""The residual stream's beginning: what the codebooks' tokens and the position stand for."""
# pyright: reportUnknownParameterType=false, reportMissingParameterType=false, reportUnknownArgumentType=false
# pyright: reportUnknownVariableType=false, reportUnknownMemberType=false
# pyright: reportGeneralTypeIssues=false
# A kernel's arguments are pointers and numbers, which Triton's language has no types for.

import triton.language as tl

from musicgen_serving.engine.kernels.kernel import kernel
from musicgen_serving.engine.kernels.linear import GAINED, store_moments


@kernel
def embed_kernel(
    tokens, position, active, embeddings, positions, gain, stream, gained, means, deviations, places, table, hidden,
    CODEBOOKS: tl.constexpr, CHUNK: tl.constexpr, CHUNKS: tl.constexpr,
):  # fmt: skip
    """Both rows of n slots in the stream [2n, hidden], with what the first norm wants (see `linear`).

    tokens [n, K, places]; embeddings [K * table, hidden], positions [P, hidden]; programs are (chunks / CHUNKS, n), of
    CHUNKS chunks each. The rows of a slot that is not active stay as they are.
    """
    slot, chunk = tl.program_id(1), tl.program_id(0) * CHUNKS + tl.arange(0, CHUNKS)
    if tl.load(active + slot):
        here = tl.load(position + slot)
        column = chunk[:, None] * CHUNK + tl.arange(0, CHUNK)[None, :]  # [CHUNKS, CHUNK]
        total = tl.load(positions + here * hidden + column).to(tl.float32)
        for codebook in tl.static_range(CODEBOOKS):
            token = tl.load(tokens + (slot * CODEBOOKS + codebook) * places + here)
            total += tl.load(embeddings + (codebook * table + token) * hidden + column).to(tl.float32)
        scaled = total * tl.load(gain + column).to(tl.float32) * GAINED
        for row in tl.static_range(2):
            first = (2 * slot + row) * hidden
            tl.store(stream + first + column, total)
            tl.store(gained + first + column, scaled)
            store_moments(total, means, deviations, first // CHUNK + chunk, chunk >= 0, CHUNK)
