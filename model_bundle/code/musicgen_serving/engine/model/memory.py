"""What a model takes of memory: pages of keys and values, slots and weights. One formula, without torch.

`infra/config/capacity.py` and `models.py` repeat it, and a test holds the two equal and equal to what is allocated.

A page holds 64 positions of both rows of one clip in every layer, or 128 tokens of a text, as only one row attends to a
text: the conditional one, or the other to a negative prompt. Texts and positions therefore share one pool, and memory
need not be divided between them in advance. A melody model's text is in the positions before a clip's first, behind the
chroma of its melody. 64 is the number of positions that a kernel reads at a time; on average
half a page of a clip is unused.
"""

from typing import NamedTuple

from musicgen_serving.engine.model.config import DecoderConfig

ROWS = 2  # of a slot: conditional, unconditional
PAGE = 64  # positions
TEXT_PAGE = ROWS * PAGE  # tokens
NULL_PAGE = 0  # what empty entries of page tables name: no clip's, written by inactive slots and never read for a clip

_PARAMETER_BYTES = 5 * 8 + 3 * 4 + 3  # of each slot in Slots: five int64, three float32, three bool


class ElementBytes(NamedTuple):
    """Bytes of an element of a loaded decoder: the layers' matrices, the others, everything else.

    Scales are what an 8-bit matrix of a layer has for each of its outputs.
    """

    layers: int  # but the second feed-forward matrix
    ffn_out: int
    others: int  # the output heads, and the cross-attention's keys and values of the text
    rest: int  # embeddings, norms, activations, and keys and values
    scales: int = 0


# By device, and the kind of weights (WeightFormat.name). A CPU's activations are in float32.
ELEMENT_BYTES = {
    ("cuda", "float16"): ElementBytes(2, 2, 2, 2),
    ("cuda", "float32"): ElementBytes(4, 4, 4, 4),
    ("cuda", "int8"): ElementBytes(1, 1, 2, 2, scales=4),
    ("cpu", "float16"): ElementBytes(2, 2, 2, 4),
    ("cpu", "float32"): ElementBytes(4, 4, 4, 4),
    ("cpu", "int8"): ElementBytes(1, 2, 2, 4, scales=12),  # FBGEMM also keeps a zero point and a sum
}


def position_pages(positions: int) -> int:
    """Return the pages for the keys and values of `positions` positions."""
    return -(-positions // PAGE)


def text_pages(tokens: int) -> int:
    """Return the pages for the cross-attention's keys and values of a text."""
    return -(-tokens // TEXT_PAGE)


def clip_pages(positions: int, tokens: int, negative_tokens: int = 0) -> int:
    """Return what a clip holds from admission until it leaves: for its positions, its text and its negative prompt."""
    return position_pages(positions) + text_pages(tokens) + text_pages(negative_tokens)


def prefix_text(tokens: int, negative_tokens: int = 0) -> int:
    """Return the positions that texts take in a melody model's prefix: those of the longer one, at least one."""
    return max(1, tokens, negative_tokens)


def prefix_positions(config: DecoderConfig, tokens: int, negative_tokens: int = 0) -> int:
    """Return the positions before a clip's first: none but in a melody model."""
    return config.chroma_frames + prefix_text(tokens, negative_tokens) if config.melody else 0


def clip_sizes(config: DecoderConfig, steps: int, tokens: int, negative_tokens: int = 0) -> tuple[int, int, int]:
    """Return a clip's positions, its prefix included, and the tokens of either text that cross-attention reads."""
    positions = prefix_positions(config, tokens, negative_tokens) + steps
    return (positions, 0, 0) if config.melody else (positions, tokens, negative_tokens)


def page_bytes(config: DecoderConfig, itemsize: int) -> int:
    """Return the bytes of one page in every layer: keys and values of both rows."""
    return 2 * ROWS * PAGE * config.layers * config.hidden * itemsize


def slot_bytes(config: DecoderConfig, positions: int, tokens: int) -> int:
    """Return the bytes of a slot's tokens, page tables and sampling parameters, for clips of up to these sizes."""
    buffer = 8 * config.codebooks * (positions + 1)
    tables = 4 * (position_pages(positions) + ROWS * text_pages(tokens))
    return buffer + tables + _PARAMETER_BYTES


def decoder_bytes(config: DecoderConfig, positions: int, element: ElementBytes) -> int:
    """Return the bytes of the loaded decoder without the projections of text and chroma, which are in float32."""
    hidden, ffn = config.hidden, config.ffn
    squares = 4 if config.melody else 6  # self-attention's four, cross-attention's query and output
    matrices = squares * hidden**2 + hidden * ffn  # and ffn_in
    outputs = squares * hidden + ffn + (hidden if element.ffn_out == 1 else 0)  # in 8 bits, if any are
    text = 0 if config.melody else 2 * config.layers * hidden**2
    others = text + config.codebooks * config.vocabulary * hidden
    norms = ((2 if config.melody else 3) * config.layers + 1) * 2 * hidden
    embeddings = (config.codebooks * (config.vocabulary + 1) + positions) * hidden
    layer = matrices * element.layers + hidden * ffn * element.ffn_out + outputs * element.scales
    return config.layers * layer + others * element.others + (norms + embeddings) * element.rest


def pages_that_fit(config: DecoderConfig, slots: int, positions: int, tokens: int, itemsize: int, free: int) -> int:
    """Return how many pages, the null page included, fit `free` bytes beside `slots` slots.

    Not more than the slots can use. Raises ValueError unless the longest clip fits: it could never be admitted.
    """
    longest, page = clip_pages(positions, tokens, tokens), page_bytes(config, itemsize)
    fitting = min((free - slots * slot_bytes(config, positions, tokens)) // page, 1 + slots * longest)
    if fitting < 1 + longest:
        raise ValueError(
            f"free memory must hold the {longest * page / 1e9:.2f} GB of one clip of {positions} positions"
            f"{f' with {tokens} tokens of text and of negative prompt' if tokens else ''}, got {free / 1e9:.2f} GB"
        )
    return fitting
