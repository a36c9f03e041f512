"""The least that a clip can take: the bytes that its steps must read, at the bandwidth that the device really has."""

from musicgen_serving.engine.decoder_config import DecoderConfig
from musicgen_serving.engine.slots import ROWS

HALF = 2  # bytes of a float16


def weight_bytes(config: DecoderConfig, *, eight_bit: bool = False) -> int:
    """What a step reads of the weights, whatever the number of clips: layers and heads, as the engine keeps them.

    Not the embeddings, of which it reads a few rows, nor what a text is multiplied by once. The cross-attention of
    unconditional rows is left out, and so are no weights.
    """
    hidden, ffn = config.hidden, config.ffn
    matrices = 6 * hidden * hidden + 2 * hidden * ffn  # qkv, out, cross query, cross out; in and out
    outputs = 3 * hidden + hidden + hidden + hidden + ffn + hidden  # one scale each, where they are of 8 bits
    layer = matrices + 4 * outputs if eight_bit else HALF * matrices
    norms = 3 * 2 * hidden * HALF
    heads = config.codebooks * config.vocabulary * hidden * HALF
    return config.layers * (layer + norms) + 2 * hidden * HALF + heads


def cache_bytes(config: DecoderConfig, positions: int) -> int:
    """Keys and values of one clip's two rows at so many positions."""
    return ROWS * 2 * config.layers * config.hidden * positions * HALF


def clip_bytes(config: DecoderConfig, steps: int, clips: int, *, eight_bit: bool = False) -> float:
    """What all steps of `clips` clips read together: the weights each time, and each clip's cache as it grows."""
    mean = cache_bytes(config, 1) * (steps + 1) / 2
    return steps * (weight_bytes(config, eight_bit=eight_bit) + clips * mean)


def clip_seconds(config: DecoderConfig, steps: int, clips: int, bandwidth: float, *, eight_bit: bool = False) -> float:
    """Seconds for `clips` clips at once, if nothing but reading took time."""
    return clip_bytes(config, steps, clips, eight_bit=eight_bit) / bandwidth
