"""Test 8-bit weights: their error, their product, the error of logits, and which matrices are quantised."""

from dataclasses import fields

import pytest
import torch

from musicgen_serving.engine.model.config import DecoderConfig, decoder_config, read_config
from musicgen_serving.engine.model.decoder import forward, text_kv
from musicgen_serving.engine.model.quantisation import EIGHT_BIT, UNPACKED, Quantised, dense, linear, quantise
from musicgen_serving.engine.model.weights import CrossLayerWeights, WeightFiles, load_decoder
from musicgen_serving.engine.step.paged_attention import paged_attention, write_text
from musicgen_serving.engine.step.slots import allocate, batch_view
from tests.model_bundle.helpers.kernel_inputs import relative_error
from tests.model_bundle.helpers.random_weights import eight_bit, random_weights
from tests.model_bundle.helpers.reference_musicgen import CPU, Reference

SMALL = DecoderConfig(
    layers=2, hidden=1024, heads=16, ffn=4096, vocabulary=2048, codebooks=4, channels=1, pad_token=2048
)
PER_STEP = {"qkv", "self_out", "cross_q", "cross_out", "ffn_in", "ffn_out"}


@pytest.mark.parametrize("shape", [(3072, 1024), (1024, 4096)])
def test_normal_weights_of_published_shapes_are_within_one_per_cent(shape: tuple[int, int]) -> None:
    weight = torch.randn(shape, generator=torch.Generator().manual_seed(1)) * 0.02
    quantised = quantise(weight)
    assert quantised.values.dtype == torch.int8
    assert relative_error(dense(quantised), weight) < 0.01
    assert ((dense(quantised) - weight).abs() <= quantised.scale[:, None] / 2 * 1.001).all()


def test_each_row_keeps_its_largest_value() -> None:
    weight = torch.tensor([[0.0, 0.0], [1e-4, -3e-4], [500.0, 1.0]], dtype=torch.float16)
    torch.testing.assert_close(
        dense(quantise(weight))[[0, 1, 2], [0, 1, 0]], torch.tensor([0, -3e-4, 500]), rtol=1e-3, atol=0
    )


@pytest.mark.parametrize("rows", [2, 8])
def test_the_product_is_that_of_the_dequantised_weight(rows: int) -> None:
    quantised = quantise(torch.randn(96, 64, generator=torch.Generator().manual_seed(1)))
    x = torch.randn(rows, 64, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(linear(x, quantised), x @ dense(quantised).T)


def test_a_product_within_half_precision_does_not_overflow_during_summation() -> None:
    quantised = quantise(torch.full((96, 4096), 0.01, dtype=torch.float16))  # 127 each, whose sum is beyond 65,504
    product = linear(torch.full((2, 4096), 8.0, dtype=torch.float16), quantised)
    torch.testing.assert_close(product.float(), torch.full((2, 96), 0.01 * 8 * 4096), rtol=2e-3, atol=0)


def test_logits_at_a_published_width_are_within_two_per_cent() -> None:
    weights, slots = random_weights(SMALL, 64, torch.float32), allocate(SMALL, 1, 64, 8, CPU, torch.float32)
    generator = torch.Generator().manual_seed(3)
    states, tokens = torch.randn(8, 1024, generator=generator), torch.randint(2048, (1, 4, 32), generator=generator)
    slots.set_pages(0, [1], [2])
    slots.activate(0, 32, 8)
    run, position, logits = batch_view(slots, 0, 1, 32, 8), torch.arange(32)[None], list[torch.Tensor]()
    for kind in (weights, eight_bit(weights)):
        for layer, pages in zip(kind.layers, slots.kv, strict=True):
            assert isinstance(layer, CrossLayerWeights)
            write_text(pages, [2], text_kv(layer, SMALL.heads, states))
        logits.append(forward(kind, SMALL.heads, paged_attention(run, position), tokens, position))
    error = relative_error(logits[1], logits[0])
    assert 1e-3 < error < 0.02


def test_quantises_only_the_matrices_that_every_step_reads(mono: Reference) -> None:
    config = decoder_config(read_config(mono.folder))
    with WeightFiles(mono.folder) as files:
        plain, rounded = (
            load_decoder(files, config, CPU, torch.float32, 16, packing) for packing in (UNPACKED, EIGHT_BIT)
        )
    for one, other in zip(plain.layers, rounded.layers, strict=True):
        kinds = {field.name for field in fields(CrossLayerWeights) if isinstance(getattr(other, field.name), Quantised)}
        assert kinds == PER_STEP
        assert relative_error(dense(other.qkv), dense(one.qkv)) < 0.01
    assert torch.equal(dense(plain.heads), dense(rounded.heads))
    assert plain.embeddings.dtype == rounded.embeddings.dtype == torch.float32
