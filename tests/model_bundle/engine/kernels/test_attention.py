"""Attention in Triton's interpreter, beside torch's scaled_dot_product_attention."""

import pytest
import torch
from torch.nn import functional

from musicgen_serving.engine.kernels.attention import BLOCK, AttentionInputs, SpanWorkspace, attend, attend_to_text
from tests.model_bundle.helpers.kernel_cases import CPU, normal

HEADS, SIZE, CAPACITY = 2, 16, 5 * BLOCK
ONE_SPAN, FIVE_SPANS = 1, 10**6  # programs allowed
HALF, FULL = torch.float16, torch.float32
TOLERANCE = {HALF: 2e-3, FULL: 1e-5}


def spans_for(rows: int, programs: int) -> SpanWorkspace:
    return SpanWorkspace.allocate(rows, HEADS, SIZE, CAPACITY, CPU, programs)


def run(
    qkv: torch.Tensor, kv: torch.Tensor, position: torch.Tensor, active: torch.Tensor, out: torch.Tensor,
    spans: SpanWorkspace, length: int,
) -> None:  # fmt: skip
    attend(AttentionInputs(qkv=qkv, kv=kv, position=position, active=active, length=length), out, spans)


def wanted(qkv: torch.Tensor, cache: torch.Tensor, row: int, position: int) -> torch.Tensor:
    """[H], of the cache as it was before the step."""
    query, key, value = qkv[row].float().view(3, HEADS, 1, SIZE)
    before = cache[row, :, :, :position].float()
    keys, values = torch.cat([before[0], key], dim=1), torch.cat([before[1], value], dim=1)
    return functional.scaled_dot_product_attention(query, keys, values).flatten()


@pytest.mark.parametrize("dtype", [HALF, FULL])
@pytest.mark.parametrize("programs", [ONE_SPAN, FIVE_SPANS])
@pytest.mark.parametrize(
    "positions", [[0], [1], [BLOCK - 1], [BLOCK], [BLOCK + 1], [CAPACITY - 1], [0, 300, 130], [2 * BLOCK, 7]]
)
def test_equals_attention_over_the_cached_positions(positions: list[int], programs: int, dtype: torch.dtype) -> None:
    rows, spans = 2 * len(positions), spans_for(2 * len(positions), programs)
    assert spans.splits == (1 if programs == ONE_SPAN else 8)
    qkv = normal(rows, 3 * HEADS * SIZE, seed=1, dtype=dtype)
    cache = normal(rows, 2, HEADS, CAPACITY, SIZE, seed=2, dtype=dtype)
    for slot, position in enumerate(positions):
        cache[2 * slot : 2 * slot + 2, :, :, position:] = torch.nan  # what an earlier clip may have left
    before, out = cache.clone(), torch.full((rows, HEADS * SIZE), torch.nan, dtype=dtype)
    active = torch.ones(len(positions), dtype=torch.bool)
    run(qkv, cache, torch.tensor(positions), active, out, spans, max(positions) + 1)
    for row in range(rows):
        position = positions[row // 2]
        expected = wanted(qkv, before, row, position)
        torch.testing.assert_close(out[row].float(), expected, atol=TOLERANCE[dtype], rtol=TOLERANCE[dtype])
        before[row, :, :, position] = qkv[row, HEADS * SIZE :].view(2, HEADS, SIZE)
    torch.testing.assert_close(cache, before, rtol=0, atol=0, equal_nan=True)
    assert not spans.arrived.any()


def test_large_scores_neither_overflow_nor_vanish() -> None:
    qkv, cache = normal(2, 3 * HEADS * SIZE, seed=1) * 50, normal(2, 2, HEADS, CAPACITY, SIZE, seed=2) * 50
    out, before = torch.empty((2, HEADS * SIZE)), cache.clone()
    run(qkv, cache, torch.tensor([200]), torch.tensor([True]), out, spans_for(2, FIVE_SPANS), 201)
    torch.testing.assert_close(out[1], wanted(qkv, before, 1, 200), rtol=1e-3, atol=1e-3)


def test_a_slot_that_is_not_active_keeps_its_cache_and_costs_its_neighbour_nothing() -> None:
    qkv, cache = normal(4, 3 * HEADS * SIZE, seed=1), normal(4, 2, HEADS, CAPACITY, SIZE, seed=2)
    out, before = torch.zeros((4, HEADS * SIZE)), cache.clone()
    position, active = torch.tensor([100, 5]), torch.tensor([False, True])
    run(qkv, cache, position, active, out, spans_for(4, FIVE_SPANS), 6)
    assert torch.equal(cache[:2], before[:2])
    assert not out[:2].any()
    torch.testing.assert_close(out[3], wanted(qkv, before, 3, 5), rtol=1e-5, atol=1e-5)


def test_what_is_not_a_number_stays_in_its_row() -> None:
    qkv, cache = normal(4, 3 * HEADS * SIZE, seed=1), normal(4, 2, HEADS, CAPACITY, SIZE, seed=2)
    cache[1, 0, 0, 3] = torch.nan
    out = torch.zeros((4, HEADS * SIZE))
    run(qkv, cache, torch.tensor([100, 70]), torch.ones(2).bool(), out, spans_for(4, FIVE_SPANS), 101)
    assert torch.equal(out.isnan().all(dim=1), torch.tensor([False] * 4))
    assert torch.equal(out[:, :SIZE].isnan().all(dim=1), torch.tensor([False, True, False, False]))
    assert out[:, SIZE:].isfinite().all()


@pytest.mark.parametrize("tokens", [[1], [16, 3], [BLOCK, BLOCK + 1, 90]])
def test_attends_to_the_text_that_a_slot_has(tokens: list[int]) -> None:
    text, slots = 96, len(tokens)
    queries, cross = normal(slots, HEADS * SIZE, seed=1), normal(slots, 2, HEADS, text, SIZE, seed=2)
    for slot, count in enumerate(tokens):
        cross[slot, :, :, count:] = torch.nan
    out = torch.full_like(queries, torch.nan)
    bounded = cross[:, :, :, : max(tokens)]  # as a window sees it
    attend_to_text(queries, bounded[:, 0], torch.tensor(tokens), torch.ones(slots).bool(), out)
    for slot, count in enumerate(tokens):
        key, value = cross[slot, :, :, :count]
        expected = functional.scaled_dot_product_attention(queries[slot].view(HEADS, 1, SIZE), key, value)
        torch.testing.assert_close(out[slot], expected.flatten(), atol=1e-5, rtol=1e-5)


def test_no_text_is_attended_to_as_zero_and_no_slot_that_is_not_active_at_all() -> None:
    queries, cross, out = normal(2, HEADS * SIZE, seed=1), normal(2, 2, HEADS, 8, SIZE, seed=2), torch.ones((2, 32))
    attend_to_text(queries, cross[:, 0], torch.tensor([0, 5]), torch.tensor([True, False]), out)
    assert torch.equal(out, torch.tensor([[0.0], [1.0]]).expand(2, 32))


@pytest.mark.parametrize(("rows", "span"), [(2, 128), (4, 256), (16, 1024), (64, 2048)])
def test_spans_are_short_where_there_is_little_else_to_share(rows: int, span: int) -> None:
    spans = SpanWorkspace.allocate(rows, 32, 64, 1503, torch.device("meta"))
    assert spans.span == span
    assert spans.span * spans.splits >= 1503
