"""What launches a step's ends: the embeddings and the drawing of tokens."""

import math

import torch

from musicgen_serving.engine.decoder_weights import DecoderWeights
from musicgen_serving.engine.kernels.embedding import embed_kernel
from musicgen_serving.engine.kernels.projections import Stream
from musicgen_serving.engine.kernels.sampling import sample_kernel
from musicgen_serving.engine.slots import Slots

CHUNKS = 8  # of the stream, for a program
WARPS = 4


def embed(weights: DecoderWeights, state: Slots, active: torch.Tensor, stream: Stream) -> None:
    """Begin the stream [2n, H] of n slots, those that are active [n], with their tokens at their positions."""
    slots, codebooks, places = state.tokens.shape
    hidden = stream.values.shape[1]
    chunks = math.gcd(hidden // stream.chunk, CHUNKS)
    embed_kernel[hidden // stream.chunk // chunks, slots](
        state.tokens, state.position, active, weights.embeddings, weights.positions,
        weights.layers[0].self_norm.weight, stream.values, stream.gained, stream.means, stream.deviations,
        places, weights.embeddings.shape[0] // codebooks, hidden,
        CODEBOOKS=codebooks, CHUNK=stream.chunk, CHUNKS=chunks, num_warps=WARPS,
    )  # fmt: skip


def draw(logits: torch.Tensor, state: Slots, active: torch.Tensor, arrived: torch.Tensor) -> None:
    """Draw the next tokens of n slots from logits [2n, K * V], float32, and advance those that are active [n].

    `arrived` [n], int32, is zero before and after.
    """
    slots, codebooks, places = state.tokens.shape
    vocabulary = logits.shape[1] // codebooks
    sample_kernel[codebooks, slots](
        logits, state.tokens, state.position, active, state.broken, state.guidance, state.temperature,
        state.top_k, state.top_p, state.greedy, state.seed, arrived, places,
        CODEBOOKS=codebooks, VOCABULARY=vocabulary, LANES=1 << (vocabulary - 1).bit_length(), num_warps=2 * WARPS,
    )  # fmt: skip
