"""The matrix products in Triton's interpreter, beside torch's in float64."""

import pytest
import torch
from torch.nn import functional

from musicgen_serving.engine.kernels import tiles
from musicgen_serving.engine.kernels.linear import NormProjection, ResidualProjection, SplitWorkspace, add, project
from musicgen_serving.engine.model.quantisation import Matrix, dense, quantise
from tests.model_bundle.helpers.kernel_cases import CPU, normal, relative_error, some_norm, stream_of

HALF, FULL = torch.float16, torch.float32


def weight_of(features: int, width: int, dtype: torch.dtype, quantised: bool) -> Matrix:
    weight = normal(features, width, seed=1, dtype=dtype, scale=width**-0.5)
    return quantise(weight) if quantised else weight


def expected(values: torch.Tensor, norm_: torch.Tensor, shift: torch.Tensor, weight: Matrix) -> torch.Tensor:
    normed = functional.layer_norm(values.double(), values.shape[-1:], norm_.double(), shift.double())
    return normed @ dense(weight).double().T


@pytest.mark.parametrize("rows", [2, 16, 18, 40, 64])
@pytest.mark.parametrize(("features", "width"), [(192, 64), (64, 64), (96, 384)])
@pytest.mark.parametrize("gelu", [False, True])
def test_projects_the_norm_of_the_stream(rows: int, features: int, width: int, gelu: bool) -> None:
    values, norm = normal(rows, width, seed=2) * 3 + 1, some_norm(width, 3)
    weight, out = weight_of(features, width, FULL, quantised=False), torch.full((rows, features), torch.nan)
    stream = stream_of(values, norm.weight, FULL)
    project(stream, NormProjection.fold(norm, weight, gelu=gelu), out, SplitWorkspace.allocate(rows, [weight], CPU))
    wanted = expected(values, norm.weight, norm.bias, weight)
    torch.testing.assert_close(out.double(), functional.gelu(wanted) if gelu else wanted, atol=2e-5, rtol=2e-5)


@pytest.mark.parametrize("quantised", [False, True])
@pytest.mark.parametrize("rows", [2, 64])
def test_half_precision_is_within_its_rounding(rows: int, quantised: bool) -> None:
    values, norm = normal(rows, 512, seed=2) * 3 + 1, some_norm(512, 3, HALF)
    weight, out = weight_of(64, 512, HALF, quantised), torch.full((rows, 64), torch.nan, dtype=HALF)
    project(
        stream_of(values, norm.weight, HALF),
        NormProjection.fold(norm, weight),
        out,
        SplitWorkspace.allocate(rows, [weight], CPU),
    )
    wanted = expected(values, norm.weight, norm.bias, weight)
    assert relative_error(out, wanted) < 6e-4


def test_a_mean_far_from_zero_and_a_stream_beyond_half_precision_do_no_harm() -> None:
    values, norm = normal(2, 128, seed=2) + 100, some_norm(128, 3, HALF)
    values[:, 7] = 2e5  # large models have such columns, and half precision ends at 65,504
    weight, out = weight_of(64, 128, HALF, quantised=False), torch.empty((2, 64))
    project(
        stream_of(values, norm.weight, HALF),
        NormProjection.fold(norm, weight),
        out,
        SplitWorkspace.allocate(2, [weight], CPU),
    )
    wanted = expected(values, norm.weight, norm.bias, weight)
    assert relative_error(out, wanted) < 2e-3


def test_projects_every_other_row() -> None:
    values, norm = normal(6, 64, seed=2), some_norm(64, 3)
    weight, out = weight_of(64, 64, FULL, quantised=False), torch.empty((3, 64))
    project(
        stream_of(values, norm.weight, FULL), NormProjection.fold(norm, weight, stride=2), out,
        SplitWorkspace.allocate(6, [weight], CPU),
    )  # fmt: skip
    wanted = expected(values[::2], norm.weight, norm.bias, weight)
    torch.testing.assert_close(out.double(), wanted, atol=2e-5, rtol=2e-5)


@pytest.mark.parametrize("quantised", [False, True])
@pytest.mark.parametrize(("rows", "step"), [(2, 1), (1, 2), (24, 1), (32, 2), (64, 1)])
def test_adds_to_the_stream_what_the_next_norm_wants(rows: int, step: int, quantised: bool) -> None:
    values, x = normal(rows * step, 64, seed=2), normal(rows, 256, seed=4)
    even, odd = some_norm(64, 5), some_norm(64, 7)
    weight = weight_of(64, 256, FULL, quantised)
    stream, untouched = (stream_of(values, even.weight, FULL) for _ in range(2))
    projection = ResidualProjection(weight=weight, even_gain=even.weight, odd_gain=odd.weight, stride=step)
    add(stream, projection, x, SplitWorkspace.allocate(rows * step, [weight], CPU))
    sums = values.clone()
    sums[::step] += x @ dense(weight).T
    for parity, norm in enumerate((even, odd)):
        wanted = stream_of(sums, norm.weight, FULL)
        for name in ("values", "scaled", "means", "deviations"):
            source = untouched if step == 2 and parity == 1 else wanted
            torch.testing.assert_close(
                getattr(stream, name)[parity::2], getattr(source, name)[parity::2], atol=1e-4, rtol=1e-4
            )


def test_a_split_sum_leaves_its_counters_at_zero_and_is_the_same_each_time() -> None:
    values, x, norm = normal(64, 64, seed=2), normal(64, 512, seed=4), some_norm(64, 5)
    weight = weight_of(64, 512, FULL, quantised=False)
    splits = SplitWorkspace.allocate(64, [weight], CPU)
    projection = ResidualProjection(weight=weight, even_gain=norm.weight, odd_gain=norm.weight)
    assert tiles.tile(64, 64, 512).splits > 1
    results: list[torch.Tensor] = []
    for _ in range(2):
        stream = stream_of(values, norm.weight, FULL)
        add(stream, projection, x, splits)
        results.append(stream.values)
        assert not splits.arrived.any()
    assert torch.equal(*results)


def test_a_row_of_nan_spoils_no_other() -> None:
    values, norm = normal(4, 64, seed=2), some_norm(64, 3)
    values[1] = torch.nan
    weight, out = weight_of(64, 64, FULL, quantised=False), torch.empty((4, 64))
    project(
        stream_of(values, norm.weight, FULL),
        NormProjection.fold(norm, weight),
        out,
        SplitWorkspace.allocate(4, [weight], CPU),
    )
    assert torch.equal(out.isfinite().all(dim=1), torch.tensor([True, False, True, True]))


def test_more_rows_than_a_step_can_have_are_refused() -> None:
    with pytest.raises(ValueError, match="at most 64 rows, got 65"):
        tiles.padded(65)
