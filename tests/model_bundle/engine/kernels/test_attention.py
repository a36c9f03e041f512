"""Test the attention kernels in Triton's interpreter against torch's scaled_dot_product_attention."""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

import pytest
import torch
from torch.nn import functional

from musicgen_serving.engine.kernels.attention import SPAN, SpanWorkspace, attend, attend_to_text
from musicgen_serving.engine.model.config import DecoderConfig
from musicgen_serving.engine.model.memory import PAGE, ROWS, text_pages
from musicgen_serving.engine.step.slots import Slots, allocate, batch_view
from tests.model_bundle.helpers.kernel_inputs import CPU, normal

HEADS, SIZE, CAPACITY = 3, 16, 5 * PAGE  # not two heads: a slot has two rows, and keys and values are two
ONE_SPAN, FIVE_SPANS = 8 * PAGE, PAGE  # positions in a span
HALF, FULL = torch.float16, torch.float32
TOLERANCE = {HALF: 2e-3, FULL: 1e-5}
CONFIG = DecoderConfig(
    layers=1, hidden=HEADS * SIZE, heads=HEADS, ffn=8, vocabulary=8, codebooks=4, channels=1, pad_token=8
)


def spans_for(rows: int, span: int) -> SpanWorkspace:
    return SpanWorkspace(rows, HEADS, SIZE, CAPACITY, CPU, span)


def filled_slots(positions: list[int], texts: list[int], dtype: torch.dtype = FULL, seed: int = 2) -> Slots:
    """Return active slots at these positions with texts of these lengths, in pages in random order.

    Keys and values are random; those beyond a slot's positions and text are NaN, as left by an earlier clip.
    """
    slots = allocate(CONFIG, len(positions), CAPACITY, max(texts), CPU, dtype, pages=64)
    order: list[int] = (torch.randperm(63, generator=torch.Generator().manual_seed(seed)) + 1).tolist()
    slots.kv[0].fill_(torch.nan)
    for slot, (position, tokens) in enumerate(zip(positions, texts, strict=True)):
        slots.set_pages(slot, [order.pop() for _ in range(5)], [order.pop() for _ in range(text_pages(tokens))])
        slots.activate(slot, position, tokens)
        write_cached(slots, slot, normal(2, ROWS * HEADS, position, SIZE, seed=seed + slot, dtype=dtype))
        for token in range(tokens):
            kv = normal(2, HEADS, SIZE, seed=1000 * slot + token, dtype=dtype)
            page, row = int(slots.text_table[slot, 0, token // 128]), token % 128 // 64
            slots.kv[0][:, row * HEADS : (row + 1) * HEADS, page * PAGE + token % 64] = kv
    return slots


def places(slots: Slots, slot: int, count: int) -> list[int]:
    """Return where a slot's first positions are in a layer's pages."""
    return [int(slots.page_table[slot, one // PAGE]) * PAGE + one % PAGE for one in range(count)]


def write_cached(slots: Slots, slot: int, kv: torch.Tensor) -> None:
    """Write keys and values [2, rows * heads, positions, size]."""
    slots.kv[0][:, :, places(slots, slot, kv.shape[2])] = kv


def cached(slots: Slots, slot: int, count: int) -> torch.Tensor:
    """Return the keys and values of a slot's first positions, [2, rows, heads, count, size]."""
    return slots.kv[0][:, :, places(slots, slot, count)].view(2, ROWS, HEADS, count, SIZE)


def expected_row(qkv: torch.Tensor, slots: Slots, row: int, position: int) -> torch.Tensor:
    """Return one row's attention [H], given the pages as they were before the step."""
    query, key, value = qkv[row].float().view(3, HEADS, 1, SIZE)
    before = cached(slots, row // ROWS, position)[:, row % ROWS].float()
    keys, values = torch.cat([before[0], key], dim=1), torch.cat([before[1], value], dim=1)
    return functional.scaled_dot_product_attention(query, keys, values).flatten()


@pytest.mark.parametrize("dtype", [HALF, FULL])
@pytest.mark.parametrize("span", [ONE_SPAN, FIVE_SPANS])
@pytest.mark.parametrize(
    "positions", [[0], [1], [PAGE - 1], [PAGE], [PAGE + 1], [CAPACITY - 1], [0, 300, 130], [2 * PAGE, 7]]
)
def test_equals_attention_over_the_cached_positions(positions: list[int], span: int, dtype: torch.dtype) -> None:
    rows, spans = 2 * len(positions), spans_for(2 * len(positions), span)
    assert spans.splits == (1 if span == ONE_SPAN else 8)
    qkv = normal(rows, 3 * HEADS * SIZE, seed=1, dtype=dtype)
    slots, before = (filled_slots(positions, [1] * len(positions), dtype) for _ in range(2))
    out = torch.full((rows, HEADS * SIZE), torch.nan, dtype=dtype)
    attend(qkv, slots.kv[0], slots, max(positions) + 1, out, spans)
    for row in range(rows):
        expected = expected_row(qkv, before, row, positions[row // 2])
        torch.testing.assert_close(out[row].float(), expected, atol=TOLERANCE[dtype], rtol=TOLERANCE[dtype])
    for slot, position in enumerate(positions):
        own = qkv[2 * slot : 2 * slot + 2, HEADS * SIZE :].view(2, 2, HEADS, SIZE).transpose(0, 1)
        before.kv[0][:, :, places(before, slot, position + 1)[-1]] = own.reshape(2, ROWS * HEADS, SIZE)
    torch.testing.assert_close(slots.kv[0], before.kv[0], rtol=0, atol=0, equal_nan=True)
    assert not spans.arrived.any()


@pytest.mark.parametrize("position", [90, 255, 256, 300])
def test_a_clips_attention_is_bit_identical_alone_in_a_batch_and_in_other_pages(position: int) -> None:
    qkv, alone, batched = (
        normal(8, 3 * HEADS * SIZE, seed=1),
        torch.empty((2, HEADS * SIZE)),
        torch.empty((8, HEADS * SIZE)),
    )
    slots = filled_slots([position], [1])
    write_cached(slots, 0, kv := normal(2, ROWS * HEADS, position, SIZE, seed=9))
    attend(qkv[4:6].clone(), slots.kv[0], slots, position + 1, alone, SpanWorkspace(2, HEADS, SIZE, CAPACITY, CPU))
    slots = filled_slots([CAPACITY - 1, 7, position, 200], [1] * 4, seed=5)
    write_cached(slots, 2, kv)
    attend(qkv, slots.kv[0], slots, CAPACITY, batched, SpanWorkspace(8, HEADS, SIZE, CAPACITY, CPU))
    assert torch.equal(batched[4:6], alone)


def test_large_scores_neither_overflow_nor_vanish() -> None:
    qkv, slots = normal(2, 3 * HEADS * SIZE, seed=1) * 50, filled_slots([200], [1])
    slots.kv[0].mul_(50)
    out, expected = torch.empty((2, HEADS * SIZE)), expected_row(qkv, slots, 1, 200)
    attend(qkv, slots.kv[0], slots, 201, out, spans_for(2, FIVE_SPANS))
    torch.testing.assert_close(out[1], expected, rtol=1e-3, atol=1e-3)


def test_an_inactive_slot_keeps_its_pages_and_does_not_affect_its_neighbour() -> None:
    qkv, slots = normal(4, 3 * HEADS * SIZE, seed=1), filled_slots([100, 5], [1, 1])
    slots.active[0] = False
    out, before, expected = torch.zeros((4, HEADS * SIZE)), cached(slots, 0, 320), expected_row(qkv, slots, 3, 5)
    attend(qkv, slots.kv[0], slots, 6, out, spans_for(4, FIVE_SPANS))
    torch.testing.assert_close(cached(slots, 0, 320), before, rtol=0, atol=0, equal_nan=True)
    assert not out[:2].any()
    torch.testing.assert_close(out[3], expected, rtol=1e-5, atol=1e-5)


def test_nan_stays_in_its_row_and_head() -> None:
    qkv, slots = normal(4, 3 * HEADS * SIZE, seed=1), filled_slots([100, 70], [1, 1])
    slots.kv[0][0, HEADS, places(slots, 0, 4)[-1]] = torch.nan  # a key of the first slot's second row, first head
    out = torch.zeros((4, HEADS * SIZE))
    attend(qkv, slots.kv[0], slots, 101, out, spans_for(4, FIVE_SPANS))
    assert torch.equal(out.isnan().all(dim=1), torch.tensor([False] * 4))
    assert torch.equal(out[:, :SIZE].isnan().all(dim=1), torch.tensor([False, True, False, False]))
    assert out[:, SIZE:].isfinite().all()


def expected_text(queries: torch.Tensor, slot: int, count: int) -> torch.Tensor:
    """Return attention to the text that `filled_slots` writes."""
    keys, values = torch.stack([normal(2, HEADS, SIZE, seed=1000 * slot + token) for token in range(count)], dim=2)
    return functional.scaled_dot_product_attention(queries[slot].view(HEADS, 1, SIZE), keys, values).flatten()


@pytest.mark.parametrize("tokens", [[1], [16, 3], [PAGE, PAGE + 1, 90], [2 * PAGE, 2 * PAGE + 1], [300, 5, 193]])
def test_cross_attention_reads_only_the_tokens_of_each_slots_text(tokens: list[int]) -> None:
    queries, slots = normal(len(tokens), HEADS * SIZE, seed=1), filled_slots([0] * len(tokens), tokens)
    out = torch.full_like(queries, torch.nan)
    attend_to_text(queries, slots.kv[0], slots, out)
    for slot, count in enumerate(tokens):
        torch.testing.assert_close(out[slot], expected_text(queries, slot, count), atol=1e-5, rtol=1e-5)


def test_attends_within_a_run_of_slots() -> None:
    queries, slots = normal(3, HEADS * SIZE, seed=1), filled_slots([9, 30, 80], [3, 70, 140])
    state = batch_view(slots, 1, 2, CAPACITY, 256).state
    out, qkv = torch.empty((2, HEADS * SIZE)), normal(6, 3 * HEADS * SIZE, seed=1)
    attend_to_text(queries[1:].contiguous(), slots.kv[0], state, out)
    torch.testing.assert_close(out[1], expected_text(queries, 2, 140), atol=1e-5, rtol=1e-5)
    expected, attn_out = expected_row(qkv, slots, 5, 80), torch.empty((4, HEADS * SIZE))
    attend(qkv[2:].contiguous(), slots.kv[0], state, 81, attn_out, spans_for(4, FIVE_SPANS))
    torch.testing.assert_close(attn_out[3], expected, atol=1e-5, rtol=1e-5)


def test_both_rows_of_a_slot_attend_to_a_text_of_their_own() -> None:
    slots, queries = filled_slots([0, 0], [130, 5]), normal(4, HEADS * SIZE, seed=1)
    slots.text_table[0, 1], slots.text_tokens[0, 1] = slots.text_table[1, 0], 5  # the second slot's text is negative
    out = torch.full((4, HEADS * SIZE), torch.nan)
    attend_to_text(queries, slots.kv[0], slots, out)
    texts = [
        expected_text(queries[[row, row]], slot, count) for row, slot, count in ((0, 0, 130), (1, 1, 5), (2, 1, 5))
    ]
    torch.testing.assert_close(out, torch.stack([*texts, torch.zeros(HEADS * SIZE)]), atol=1e-5, rtol=1e-5)
    assert not out[3].any()


def test_cross_attention_to_no_tokens_is_zero_and_skips_inactive_slots() -> None:
    queries, slots, out = normal(2, HEADS * SIZE, seed=1), filled_slots([0, 0], [1, 5]), torch.ones((2, HEADS * SIZE))
    slots.text_tokens[0] = 0
    slots.active[1] = False
    attend_to_text(queries, slots.kv[0], slots, out)
    assert torch.equal(out, torch.tensor([[0.0], [1.0]]).expand(2, HEADS * SIZE))


@pytest.mark.parametrize("rows", [2, 16, 64])
def test_spans_do_not_depend_on_the_number_of_slots(rows: int) -> None:
    spans = SpanWorkspace(rows, 32, 64, 1503, torch.device("meta"))
    assert (spans.span, spans.splits) == (SPAN, 8)


def test_refuses_a_span_that_cuts_pages() -> None:
    with pytest.raises(ValueError, match="a multiple of 64 positions, got 96"):
        SpanWorkspace(2, 32, 64, 1503, CPU, 96)
