"""Test a CPU's packed matrices: their error, rows that do not change each other, and builds without FBGEMM."""

import os
import subprocess
import sys
from dataclasses import replace
from typing import Any, get_args

import pytest
import torch

from musicgen_serving.engine.model import cpu_matrices
from musicgen_serving.engine.model.config import DecoderConfig
from musicgen_serving.engine.model.cpu_matrices import (
    PACKINGS,
    Float16Matrix,
    Float32Matrix,
    Int8Matrix,
    cpu_packing,
    max_input_level,
)
from musicgen_serving.engine.model.decoder import forward, text_kv
from musicgen_serving.engine.model.quantisation import UNPACKED, MatrixName, PackedMatrix, Packing, dense
from musicgen_serving.engine.model.weights import CrossLayerWeights, DecoderWeights
from musicgen_serving.engine.sampling_params import SamplingParams
from musicgen_serving.engine.step.paged_attention import paged_attention, write_text
from musicgen_serving.engine.step.slots import allocate, batch_view
from tests.model_bundle.helpers.kernel_inputs import relative_error
from tests.model_bundle.helpers.random_weights import random_weights
from tests.model_bundle.helpers.reference_musicgen import CPU, Reference

KINDS: dict[str, type[PackedMatrix]] = {"float32": Float32Matrix, "float16": Float16Matrix, "int8": Int8Matrix}
ERRORS = {"float32": 2e-6, "float16": 5e-4, "int8": 2e-2}  # of normally distributed weights, relative
FRAMES = 60
MATRICES: list[MatrixName] = [name for name in get_args(MatrixName) if name != "heads"]
SMALL = DecoderConfig(  # four of its 24 layers
    layers=4, hidden=1024, heads=16, ffn=4096, vocabulary=2048, codebooks=4, channels=1, pad_token=2048
)


def normal(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> type[PackedMatrix]:
    if request.param != "float32" and not cpu_matrices.has_fbgemm():
        pytest.skip("FBGEMM is for x86")
    return KINDS[request.param]


@pytest.mark.parametrize("shape", [(162, 54), (100, 100), (72, 288), (3072, 1024), (1024, 4096)])
def test_products_are_those_of_the_weight(kind: type[PackedMatrix], shape: tuple[int, int]) -> None:
    weight, x = normal(*shape) * shape[1] ** -0.5, normal(16, shape[1])
    name = next(name for name, one in KINDS.items() if one is kind)
    matrix = kind(weight)
    assert matrix.shape == weight.shape
    assert relative_error(matrix.product(x), x.double() @ weight.double().T) < ERRORS[name]


def test_float16_is_exact_for_weights_that_are_float16() -> None:
    weight, x = normal(256, 1024).half().float(), normal(4, 1024)
    assert relative_error(Float16Matrix(weight).product(x), x.double() @ weight.double().T) < 2e-6


@pytest.mark.parametrize("shape", [(64, 32), (162, 54), (1024, 1024), (1024, 4096)])
def test_a_row_is_rounded_the_same_whatever_its_neighbours(kind: type[PackedMatrix], shape: tuple[int, int]) -> None:
    matrix, x = kind(normal(*shape)), normal(64, shape[1])
    alone = torch.cat([matrix.product(pair) for pair in torch.split(x, 2)])
    for rows in (4, 6, 8, 12, 16, 24, 32, 64):
        assert torch.equal(matrix.product(x[:rows].contiguous()), alone[:rows]), f"{rows} rows"


def test_a_small_row_keeps_its_precision_next_to_a_large_one() -> None:
    weight, x = normal(128, 1024), normal(2, 1024)
    x[1] *= 1000
    errors = [relative_error(got, want) for got, want in zip(Int8Matrix(weight).product(x), x @ weight.T, strict=True)]
    assert max(errors) < ERRORS["int8"]


def test_a_row_of_zeros_gives_zeros_and_a_row_that_is_not_finite_stays_so(kind: type[PackedMatrix]) -> None:
    x = normal(3, 64)
    x[0], x[2, 5] = 0, float("nan")
    product = kind(normal(32, 64)).product(x)
    assert not product[0].any() and product[1].isfinite().all() and not product[2].isfinite().any()


def test_inputs_have_half_the_levels_where_products_saturate(monkeypatch: pytest.MonkeyPatch) -> None:
    exact = cpu_matrices.product_int8

    def saturating(x: torch.Tensor, packed: Any, levels: int) -> torch.Tensor:
        """Return what 16-bit sums of two products of 255 and 127 hold."""
        return exact(x, packed, levels) * (32767 / (2 * 255 * 127))

    max_input_level.cache_clear()
    assert max_input_level() == 127
    monkeypatch.setattr(cpu_matrices, "product_int8", saturating)
    max_input_level.cache_clear()
    assert max_input_level() == 63
    monkeypatch.undo()
    weight, x = normal(128, 1024), normal(4, 1024)
    assert relative_error(Int8Matrix(weight).product(x), x @ weight.T) < 2 * ERRORS["int8"]
    max_input_level.cache_clear()


@pytest.mark.parametrize("name", ["float32", "float16"])
def test_codes_equal_transformers_with_packed_weights(name: str, mono: Reference) -> None:
    expected, runner = mono.greedy(FRAMES, 3.0, None), mono.runner(packing=PACKINGS[name])
    for text in range(2):
        runner.admit(text, mono.states(text), FRAMES, SamplingParams(do_sample=False), 0)
    for _ in range(FRAMES + 3):
        runner.step(0, 2, length=128, text_length=11, max_top_k=1, use_top_p=False)
    for text in range(2):
        assert torch.equal(runner.codes(text, FRAMES), expected[text])


def test_int8_keeps_heads_text_and_the_second_feed_forward_matrix_in_16_bits(mono: Reference) -> None:
    weights = mono.runner(packing=PACKINGS["int8"]).weights
    for layer in weights.layers:
        kinds: dict[str, type] = {name: type(getattr(layer, name)) for name in MATRICES}
        assert kinds == dict.fromkeys(MATRICES, Int8Matrix) | {"cross_kv": Float16Matrix, "ffn_out": Float16Matrix}
    assert isinstance(weights.heads, Float16Matrix) and weights.dtype == torch.float32


def packed_layers(weights: DecoderWeights, packing: Packing) -> DecoderWeights:
    layers = (
        replace(layer, **{name: packing.pack(name, dense(getattr(layer, name))) for name in MATRICES})
        for layer in weights.layers
    )
    return replace(weights, layers=tuple(layers))


@torch.inference_mode()
def deep_logits(weights: DecoderWeights) -> torch.Tensor:
    """Return small's logits [3, 2, K * V] after 16, 32 and 64 random tokens; its 24 layers are four, six times over."""
    deep, generator = replace(weights, layers=weights.layers * 6), torch.Generator().manual_seed(3)
    states, logits = torch.randn(8, SMALL.hidden, generator=generator), list[torch.Tensor]()
    slots = allocate(replace(SMALL, layers=len(deep.layers)), 1, 64, 8, CPU, torch.float32)
    slots.set_pages(0, [1], [2])
    for count in (16, 32, 64):
        slots.activate(0, count, 8)
        for layer, pages in zip(deep.layers, slots.kv, strict=True):
            assert isinstance(layer, CrossLayerWeights)
            write_text(pages, [2], text_kv(layer, SMALL.heads, states))
        tokens, position = torch.randint(2048, (1, 4, count), generator=generator), torch.arange(count)[None]
        attention = paged_attention(batch_view(slots, 0, 1, count, 8), position)
        logits.append(forward(deep, SMALL.heads, attention, tokens, position))
    return torch.cat(logits)


@pytest.mark.skipif(not cpu_matrices.has_fbgemm(), reason="FBGEMM's kernels are for x86")
def test_logits_of_smalls_width_and_depth_in_8_bits_are_within_two_per_cent() -> None:
    """Or 2.5 on a processor without VNNI, whose inputs have half the levels."""
    weights, bound = random_weights(SMALL, 64, torch.float32), {127: 0.02, 63: 0.025}[max_input_level()]
    exact = deep_logits(weights)
    error = relative_error(deep_logits(packed_layers(weights, PACKINGS["int8"])), exact)
    assert 0.01 < error <= bound


@pytest.mark.skipif(not cpu_matrices.has_fbgemm(), reason="FBGEMM's kernels are for x86")
def test_packing_leaves_the_filters_of_warnings_to_other_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """catch_warnings replaces them for the whole process, and puts back those that it found."""
    monkeypatch.delattr("warnings.catch_warnings")
    assert isinstance(Int8Matrix(normal(8, 8)), PackedMatrix)


@pytest.mark.skipif(not cpu_matrices.has_fbgemm(), reason="FBGEMM's kernels are for x86")
def test_packing_warns_nobody() -> None:
    code = "import torch; from musicgen_serving.engine.model import cpu_matrices as c; c.Int8Matrix(torch.ones(8, 8))"
    done = subprocess.run([sys.executable, "-c", code], env=dict(os.environ), capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_packed_weight_cannot_be_read_back() -> None:
    with pytest.raises(TypeError, match="must not be packed for a CPU here, got Float32Matrix"):
        dense(Float32Matrix(normal(8, 8)))


def test_a_build_without_fbgemm_serves_float32_and_refuses_int8(
    memory_log: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cpu_matrices, "has_fbgemm", lambda: False)
    assert cpu_packing("float16", memory_log.log) == ("float32", PACKINGS["float32"])
    (line,) = memory_log.events("float16_unavailable")
    assert line["instead"] == "float32"
    with pytest.raises(ValueError, match="set MUSICGEN_WEIGHT_QUANTISATION to none"):
        cpu_packing("int8", memory_log.log)


def test_a_build_without_onednn_multiplies_weights_as_they_are_read(
    memory_log: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert cpu_packing("float32", memory_log.log) == ("float32", UNPACKED)


@pytest.mark.parametrize("name", PACKINGS)
def test_a_row_of_zeros_stays_exactly_zero_next_to_others(name: str) -> None:
    """Rows without a text depend on it: they pass through cross-attention if a neighbour has a negative prompt."""
    x = normal(3, 64)
    x[1] = 0
    weight = PACKINGS[name].most(normal(128, 64))
    assert isinstance(weight, PackedMatrix)
    out = weight.product(x)
    assert not out[1].any() and out[0].any() and out[2].any()
