"""Test the matrix products in Triton's interpreter against torch's in float64."""

import pytest
import torch
from torch.nn import functional

from musicgen_serving.engine.kernels import tiles
from musicgen_serving.engine.kernels.linear import NormProjection, ResidualProjection, SplitWorkspace, add, project
from musicgen_serving.engine.model.quantisation import Matrix, dense, quantise
from musicgen_serving.engine.model.weights import Norm
from tests.model_bundle.helpers.kernel_inputs import CPU, make_norm, make_stream, normal, relative_error

HALF, FULL = torch.float16, torch.float32


def make_weight(features: int, width: int, dtype: torch.dtype = FULL, quantised: bool = False) -> Matrix:
    weight = normal(features, width, seed=1, dtype=dtype, scale=width**-0.5)
    return quantise(weight) if quantised else weight


def project_values(
    values: torch.Tensor, norm: Norm, weight: Matrix, out_dtype: torch.dtype = FULL, *, stride: int = 1,
    gelu: bool = False,
) -> torch.Tensor:  # fmt: skip
    """Return the kernel's product of the norm of every `stride`-th row of values and a weight."""
    rows = values.shape[0]
    out = torch.full((rows // stride, weight.shape[0]), torch.nan, dtype=out_dtype)
    stream = make_stream(values, norm.weight, norm.weight.dtype)
    project(stream, NormProjection(norm, weight, stride=stride, gelu=gelu), out, SplitWorkspace(rows, [weight], CPU))
    return out


def expected_product(values: torch.Tensor, norm: Norm, weight: Matrix) -> torch.Tensor:
    normed = functional.layer_norm(values.double(), values.shape[-1:], norm.weight.double(), norm.bias.double())
    return normed @ dense(weight).double().T


@pytest.mark.parametrize("rows", [2, 16, 18, 40, 64])
@pytest.mark.parametrize(("features", "width"), [(192, 64), (64, 64), (96, 384)])
@pytest.mark.parametrize("gelu", [False, True])
def test_projects_the_norm_of_the_stream(rows: int, features: int, width: int, gelu: bool) -> None:
    values, norm, weight = normal(rows, width, seed=2) * 3 + 1, make_norm(width, 3), make_weight(features, width)
    expected = expected_product(values, norm, weight)
    out = project_values(values, norm, weight, gelu=gelu)
    torch.testing.assert_close(out.double(), functional.gelu(expected) if gelu else expected, atol=2e-5, rtol=2e-5)


@pytest.mark.parametrize("quantised", [False, True])
@pytest.mark.parametrize("rows", [2, 64])
def test_half_precision_is_within_its_rounding(rows: int, quantised: bool) -> None:
    values, norm = normal(rows, 512, seed=2) * 3 + 1, make_norm(512, 3, HALF)
    weight = make_weight(64, 512, HALF, quantised)
    out = project_values(values, norm, weight, HALF)
    assert relative_error(out, expected_product(values, norm, weight)) < 6e-4


def test_is_accurate_with_a_mean_far_from_zero_and_a_stream_beyond_half_precision() -> None:
    values, norm = normal(2, 128, seed=2) + 100, make_norm(128, 3, HALF)
    values[:, 7] = 2e5  # large models have such columns, and half precision ends at 65,504
    weight = make_weight(64, 128, HALF)
    assert relative_error(project_values(values, norm, weight), expected_product(values, norm, weight)) < 2e-3


def test_projects_every_other_row() -> None:
    values, norm, weight = normal(6, 64, seed=2), make_norm(64, 3), make_weight(64, 64)
    out = project_values(values, norm, weight, stride=2)
    torch.testing.assert_close(out.double(), expected_product(values[::2], norm, weight), atol=2e-5, rtol=2e-5)


@pytest.mark.parametrize("quantised", [False, True])
@pytest.mark.parametrize(("rows", "stride"), [(2, 1), (1, 2), (24, 1), (32, 2), (64, 1)])
def test_adds_to_the_stream_with_the_next_norms_statistics(rows: int, stride: int, quantised: bool) -> None:
    values, x = normal(rows * stride, 64, seed=2), normal(rows, 256, seed=4)
    even, odd = make_norm(64, 5), make_norm(64, 7)
    weight = make_weight(64, 256, FULL, quantised)
    stream, untouched = (make_stream(values, even.weight, FULL) for _ in range(2))
    projection = ResidualProjection(weight=weight, even_gain=even.weight, odd_gain=odd.weight, stride=stride)
    add(stream, projection, x, SplitWorkspace(rows * stride, [weight], CPU))
    sums = values.clone()
    sums[::stride] += x @ dense(weight).T
    for parity, norm in enumerate((even, odd)):
        expected = untouched if stride == 2 and parity == 1 else make_stream(sums, norm.weight, FULL)
        for name in ("values", "scaled", "means", "deviations"):
            torch.testing.assert_close(
                getattr(stream, name)[parity::2], getattr(expected, name)[parity::2], atol=1e-4, rtol=1e-4
            )


def test_a_split_sum_resets_its_counters_and_is_the_same_each_time() -> None:
    values, x, norm, weight = normal(64, 64, seed=2), normal(64, 512, seed=4), make_norm(64, 5), make_weight(64, 512)
    splits = SplitWorkspace(64, [weight], CPU)
    projection = ResidualProjection(weight=weight, even_gain=norm.weight, odd_gain=norm.weight)
    assert tiles.default_tile(64, 64, 512).splits > 1
    results: list[torch.Tensor] = []
    for _ in range(2):
        stream = make_stream(values, norm.weight, FULL)
        add(stream, projection, x, splits)
        results.append(stream.values)
        assert not splits.arrived.any()
    assert torch.equal(*results)


def test_nan_stays_in_its_row() -> None:
    values, norm = normal(4, 64, seed=2), make_norm(64, 3)
    values[1] = torch.nan
    out = project_values(values, norm, make_weight(64, 64))
    assert torch.equal(out.isfinite().all(dim=1), torch.tensor([True, False, True, True]))


def test_refuses_more_rows_than_a_step_can_have() -> None:
    with pytest.raises(ValueError, match="at most 64 rows, got 65"):
        tiles.padded(65)
