"""What a model takes of memory: pages of keys and values, slots and weights. One formula, without torch.

`infra/config/capacity.py` and `models.py` repeat it, and a test holds the two equal and equal to what is allocated.

A page holds 64 positions of both rows of one clip in every layer, or 128 tokens of a text, as only one row attends to a
text: the conditional one, or the other to a negative prompt. Texts and positions therefore share one pool, and memory
need not be divided between them in advance. 64 is the number of positions that a kernel reads at a time; on average
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


def page_bytes(config: DecoderConfig, itemsize: int) -> int:
    """Return the bytes of one page in every layer: keys and values of both rows."""
    return 2 * ROWS * PAGE * config.layers * config.hidden * itemsize


def slot_bytes(config: DecoderConfig, positions: int, tokens: int) -> int:
    """Return the bytes of a slot's tokens, page tables and sampling parameters, for clips of up to these sizes."""
    buffer = 8 * config.codebooks * (positions + 1)
    tables = 4 * (position_pages(positions) + ROWS * text_pages(tokens))
    return buffer + tables + _PARAMETER_BYTES


def decoder_bytes(config: DecoderConfig, positions: int, element: ElementBytes) -> int:
    """Return the bytes of the loaded decoder without the projection of the text, which is in float32."""
    hidden, ffn = config.hidden, config.ffn
    matrices = 6 * hidden**2 + hidden * ffn  # self-attention's four, cross-attention's query and output; ffn_in
    outputs = 6 * hidden + ffn + (hidden if element.ffn_out == 1 else 0)  # in 8 bits, if any are
    others = 2 * config.layers * hidden**2 + config.codebooks * config.vocabulary * hidden
    norms = (3 * config.layers + 1) * 2 * hidden
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
            f"free memory must hold the {longest * page / 1e9:.2f} GB of one clip of {positions} positions with "
            f"{tokens} tokens of text and of negative prompt, got {free / 1e9:.2f} GB"
        )
    return fitting
