"""Test the attention kernels in Triton's interpreter against torch's scaled_dot_product_attention."""

import pytest
import torch
from torch.nn import functional

from musicgen_serving.engine.kernels.attention import BLOCK, SpanWorkspace, attend, attend_to_text
from tests.model_bundle.helpers.kernel_inputs import CPU, normal

HEADS, SIZE, CAPACITY = 2, 16, 5 * BLOCK
ONE_SPAN, FIVE_SPANS = 1, 10**6  # programs allowed
HALF, FULL = torch.float16, torch.float32
TOLERANCE = {HALF: 2e-3, FULL: 1e-5}


def spans_for(rows: int, programs: int) -> SpanWorkspace:
    return SpanWorkspace(rows, HEADS, SIZE, CAPACITY, CPU, programs)


def expected_row(qkv: torch.Tensor, cache: torch.Tensor, row: int, position: int) -> torch.Tensor:
    """Return one row's attention [H], given the cache as it was before the step."""
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
        cache[2 * slot : 2 * slot + 2, :, :, position:] = torch.nan  # left by an earlier clip
    before, out = cache.clone(), torch.full((rows, HEADS * SIZE), torch.nan, dtype=dtype)
    active = torch.ones(len(positions), dtype=torch.bool)
    attend(qkv, cache, torch.tensor(positions), active, max(positions) + 1, out, spans)
    for row in range(rows):
        position = positions[row // 2]
        expected = expected_row(qkv, before, row, position)
        torch.testing.assert_close(out[row].float(), expected, atol=TOLERANCE[dtype], rtol=TOLERANCE[dtype])
        before[row, :, :, position] = qkv[row, HEADS * SIZE :].view(2, HEADS, SIZE)
    torch.testing.assert_close(cache, before, rtol=0, atol=0, equal_nan=True)
    assert not spans.arrived.any()


def test_large_scores_neither_overflow_nor_vanish() -> None:
    qkv, cache = normal(2, 3 * HEADS * SIZE, seed=1) * 50, normal(2, 2, HEADS, CAPACITY, SIZE, seed=2) * 50
    out, before = torch.empty((2, HEADS * SIZE)), cache.clone()
    attend(qkv, cache, torch.tensor([200]), torch.tensor([True]), 201, out, spans_for(2, FIVE_SPANS))
    torch.testing.assert_close(out[1], expected_row(qkv, before, 1, 200), rtol=1e-3, atol=1e-3)


def test_an_inactive_slot_keeps_its_cache_and_does_not_affect_its_neighbour() -> None:
    qkv, cache = normal(4, 3 * HEADS * SIZE, seed=1), normal(4, 2, HEADS, CAPACITY, SIZE, seed=2)
    out, before = torch.zeros((4, HEADS * SIZE)), cache.clone()
    position, active = torch.tensor([100, 5]), torch.tensor([False, True])
    attend(qkv, cache, position, active, 6, out, spans_for(4, FIVE_SPANS))
    assert torch.equal(cache[:2], before[:2])
    assert not out[:2].any()
    torch.testing.assert_close(out[3], expected_row(qkv, before, 3, 5), rtol=1e-5, atol=1e-5)


def test_nan_stays_in_its_row_and_head() -> None:
    qkv, cache = normal(4, 3 * HEADS * SIZE, seed=1), normal(4, 2, HEADS, CAPACITY, SIZE, seed=2)
    cache[1, 0, 0, 3] = torch.nan
    out = torch.zeros((4, HEADS * SIZE))
    attend(qkv, cache, torch.tensor([100, 70]), torch.ones(2).bool(), 101, out, spans_for(4, FIVE_SPANS))
    assert torch.equal(out.isnan().all(dim=1), torch.tensor([False] * 4))
    assert torch.equal(out[:, :SIZE].isnan().all(dim=1), torch.tensor([False, True, False, False]))
    assert out[:, SIZE:].isfinite().all()


@pytest.mark.parametrize("tokens", [[1], [16, 3], [BLOCK, BLOCK + 1, 90]])
def test_cross_attention_reads_only_the_tokens_of_each_slots_text(tokens: list[int]) -> None:
    text, slots = 96, len(tokens)
    queries, cross = normal(slots, HEADS * SIZE, seed=1), normal(slots, 2, HEADS, text, SIZE, seed=2)
    for slot, count in enumerate(tokens):
        cross[slot, :, :, count:] = torch.nan
    out = torch.full_like(queries, torch.nan)
    bounded = cross[:, :, :, : max(tokens)]  # as in a BatchView
    attend_to_text(queries, bounded[:, 0], torch.tensor(tokens), torch.ones(slots).bool(), out)
    for slot, count in enumerate(tokens):
        key, value = cross[slot, :, :, :count]
        expected = functional.scaled_dot_product_attention(queries[slot].view(HEADS, 1, SIZE), key, value)
        torch.testing.assert_close(out[slot], expected.flatten(), atol=1e-5, rtol=1e-5)


def test_cross_attention_to_no_tokens_is_zero_and_skips_inactive_slots() -> None:
    queries, cross, out = normal(2, HEADS * SIZE, seed=1), normal(2, 2, HEADS, 8, SIZE, seed=2), torch.ones((2, 32))
    attend_to_text(queries, cross[:, 0], torch.tensor([0, 5]), torch.tensor([True, False]), out)
    assert torch.equal(out, torch.tensor([[0.0], [1.0]]).expand(2, 32))


@pytest.mark.parametrize(("rows", "span"), [(2, 128), (4, 256), (16, 1024), (64, 2048)])
def test_spans_are_shorter_when_there_are_fewer_rows_to_share(rows: int, span: int) -> None:
    spans = SpanWorkspace(rows, 32, 64, 1503, torch.device("meta"))
    assert spans.span == span
    assert spans.span * spans.splits >= 1503
