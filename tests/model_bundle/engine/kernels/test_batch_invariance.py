"""Test in Triton's interpreter that a clip is bit-identical alone and in any batch.

The interpreter multiplies tiles with NumPy, element by element here, so that it sums in an order as fixed as that of
tensor cores. What only compiled code can show is in test_compilation.py.
"""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from triton.runtime.interpreter import TensorHandle, interpreter_builder

from musicgen_serving.engine.kernels.kernel_step import KernelStep
from musicgen_serving.engine.kernels.linear import NormProjection, ResidualProjection, SplitWorkspace, add, project
from musicgen_serving.engine.kernels.tiles import default_tile
from musicgen_serving.engine.model.config import DecoderConfig
from musicgen_serving.engine.model.quantisation import Matrix, quantise
from musicgen_serving.engine.model.weights import DecoderWeights
from musicgen_serving.engine.sampling_params import SamplingParams
from musicgen_serving.engine.step.model_runner import ModelRunner
from musicgen_serving.engine.step.slots import allocate
from tests.model_bundle.helpers.kernel_inputs import CPU, make_norm, make_stream, normal
from tests.model_bundle.helpers.random_weights import random_weights

HALF = torch.float16
ROWS = (2, 4, 16, 24, 32, 40, 64)
HIDDEN, FFN = 128, 512
SHAPES = {"qkv": (3 * HIDDEN, HIDDEN), "square": (HIDDEN, HIDDEN), "ffn_in": (FFN, HIDDEN), "ffn_out": (HIDDEN, FFN)}
CONFIG = DecoderConfig(layers=1, hidden=64, heads=2, ffn=128, vocabulary=96, codebooks=2, channels=1, pad_token=96)
POSITIONS, TEXT, FRAMES = 24, 8, 4


def dot_in_a_fixed_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """Multiply tiles a step of 16 at a time, as mma.sync does: BLAS orders a sum by the shape of its factors."""

    def create_dot(a: Any, b: Any, total: Any, *_precision: Any) -> TensorHandle:
        left, right = (one.data.astype(np.float32) for one in (a, b))
        result = total.data.astype(np.float32)
        for first in range(0, left.shape[1], 16):
            part = slice(first, first + 16)
            # einsum without BLAS: one loop over the sum for each element, whatever the others are
            result = result + np.einsum("ik,kj->ij", left[:, part], right[part], optimize=False)
        return TensorHandle(result.astype(total.data.dtype), total.dtype)

    monkeypatch.setattr(interpreter_builder, "create_dot", create_dot)


@pytest.fixture(autouse=True)
def fixed_order(monkeypatch: pytest.MonkeyPatch) -> None:
    dot_in_a_fixed_order(monkeypatch)


def make_weight(shape: tuple[int, int], eight_bit: bool) -> Matrix:
    weight = normal(*shape, seed=1, dtype=HALF, scale=shape[1] ** -0.5)
    return quantise(weight) if eight_bit else weight


@pytest.mark.parametrize("eight_bit", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_rows_product_with_the_norm_is_the_same_among_any_number_of_rows(shape: str, eight_bit: bool) -> None:
    weight, norm = make_weight(SHAPES[shape], eight_bit), make_norm(SHAPES[shape][1], 3, HALF)
    values = normal(max(ROWS), SHAPES[shape][1], seed=2) * 3 + 1
    products: list[torch.Tensor] = []
    for rows in ROWS:
        out = torch.full((rows, weight.shape[0]), torch.nan)
        stream = make_stream(values[:rows], norm.weight, HALF)
        project(stream, NormProjection(norm, weight), out, SplitWorkspace(rows, [weight], CPU))
        products.append(out)
    for out in products:
        assert torch.equal(out, products[-1][: len(out)])


@pytest.mark.parametrize("eight_bit", [False, True])
@pytest.mark.parametrize("shape", ["square", "ffn_out"])
def test_a_row_of_the_stream_and_its_statistics_are_the_same_among_any_number_of_rows(
    shape: str, eight_bit: bool
) -> None:
    weight, norm = make_weight(SHAPES[shape], eight_bit), make_norm(HIDDEN, 3, HALF)
    values, x = normal(max(ROWS), HIDDEN, seed=2), normal(max(ROWS), SHAPES[shape][1], seed=4, dtype=HALF)
    results: list[tuple[torch.Tensor, ...]] = []
    for rows in ROWS:
        stream = make_stream(values[:rows], norm.weight, HALF)
        projection = ResidualProjection(weight=weight, even_gain=norm.weight, odd_gain=norm.bias)
        add(stream, projection, x[:rows], SplitWorkspace(rows, [weight], CPU))
        results.append((stream.values, stream.scaled, stream.means, stream.deviations))
    for parts in results:
        for part, expected in zip(parts, results[-1], strict=True):
            assert torch.equal(part, expected[: len(part)])


@pytest.fixture(scope="module")
def weights() -> DecoderWeights:
    return random_weights(CONFIG, POSITIONS, HALF)


CLIPS: dict[int, tuple[int, SamplingParams]] = {  # by seed: tokens of the text, parameters
    0: (TEXT, SamplingParams(do_sample=False)),
    1: (3, SamplingParams(top_k=20, top_p=0.9, guidance_scale=1)),
    2: (1, SamplingParams(temperature=1.3, guidance_scale=20)),
}


def generate(weights: DecoderWeights, order: list[int | None]) -> dict[int, tuple[torch.Tensor, torch.Tensor]]:
    """Return each clip's codes and last logits [2, K * V]; None in `order` is an empty slot."""
    step = KernelStep(CONFIG, weights, POSITIONS)
    runner = ModelRunner(CONFIG, weights, allocate(CONFIG, len(order), POSITIONS, TEXT, CPU, HALF), step)
    for slot, clip in enumerate(order):
        if clip is not None:
            tokens, params = CLIPS[clip]
            runner.admit(slot, normal(tokens, CONFIG.hidden, seed=clip), FRAMES, params, seed=clip)
    for _ in range(FRAMES + max(CONFIG.delays)):
        runner.step(0, len(order), length=POSITIONS, text_length=TEXT, max_top_k=96, use_top_p=True)
    logits = step.buffers(len(order)).logits.view(len(order), 2, -1)
    return {
        clip: (runner.codes(slot, FRAMES), logits[slot].clone()) for slot, clip in enumerate(order) if clip is not None
    }


@pytest.fixture(scope="module")
def alone(weights: DecoderWeights) -> Iterator[dict[int, tuple[torch.Tensor, torch.Tensor]]]:
    """Return each clip generated alone, in the order that the tests' own products have."""
    with pytest.MonkeyPatch.context() as patch:
        dot_in_a_fixed_order(patch)
        yield {clip: generate(weights, [clip])[clip] for clip in CLIPS}


@pytest.mark.parametrize(
    "order", [[2, 0, 1], [1, None, 2, 0, None, None, None, None, None], [None] * 14 + [0, 1, 2]], ids=["6", "18", "34"]
)
def test_a_clip_is_bit_identical_alone_and_in_a_batch(
    order: list[int | None], weights: DecoderWeights, alone: dict[int, tuple[torch.Tensor, torch.Tensor]]
) -> None:
    for clip, (codes, logits) in generate(weights, order).items():
        assert torch.equal(codes, alone[clip][0])
        assert torch.equal(logits, alone[clip][1])
    assert len(torch.cat([codes.flatten() for codes, _ in alone.values()]).unique()) > 15


@pytest.mark.parametrize("hidden", [64, 72, 1024, 1536, 2048])
def test_the_order_of_a_sum_depends_on_the_weights_shape_alone(hidden: int) -> None:
    for features, width in [(3 * hidden, hidden), (hidden, hidden), (4 * hidden, hidden), (hidden, 4 * hidden)]:
        found = [default_tile(rows, features, width) for rows in range(1, 65)]
        assert len({tile.order for tile in found}) == 1
        if features <= width:
            assert len({replace(tile, warps=1, stages=1) for tile in found}) == 1  # chunks of the stream's statistics
