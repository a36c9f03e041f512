"""Test that results are bit-identical in whatever order the programs of a launch run."""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

import random
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from triton.runtime.interpreter import interpreter_builder

from musicgen_serving.engine.kernels import tiles
from musicgen_serving.engine.kernels.attention import SpanWorkspace, attend
from musicgen_serving.engine.kernels.linear import NormProjection, ResidualProjection, SplitWorkspace, add, project
from musicgen_serving.engine.kernels.sampling import sample as sample_tokens
from musicgen_serving.engine.model.config import DecoderConfig
from musicgen_serving.engine.model.memory import PAGE
from musicgen_serving.engine.step.delay_pattern import TO_GENERATE
from musicgen_serving.engine.step.slots import allocate
from tests.model_bundle.helpers.kernel_inputs import CPU, make_norm, make_stream, normal

Work = Callable[[], tuple[torch.Tensor, ...]]


@contextmanager
def shuffled(seed: int) -> Generator[None]:
    """Run the programs of each launch in a random order."""
    generator, order = random.Random(seed), dict[tuple[int, ...], tuple[int, ...]]()
    with pytest.MonkeyPatch.context() as patch:
        dimensions: Any = interpreter_builder.set_grid_dim
        index: Any = interpreter_builder.set_grid_idx

        def set_dimensions(x: int, y: int, z: int) -> None:
            programs = [(i, j, k) for i in range(x) for j in range(y) for k in range(z)]
            order.clear()
            order.update(zip(programs, generator.sample(programs, len(programs)), strict=True))
            dimensions(x, y, z)

        def set_index(x: int, y: int, z: int) -> None:
            index(*order[x, y, z])

        patch.setattr(interpreter_builder, "set_grid_dim", set_dimensions)
        patch.setattr(interpreter_builder, "set_grid_idx", set_index)
        yield


def products() -> tuple[torch.Tensor, ...]:
    """Return the results of split sums that are added to the stream and read from it."""
    values, x, norm = normal(40, 64, seed=2), normal(40, 256, seed=4), make_norm(64, 5)
    tall, square = normal(64, 256, seed=1), normal(64, 64, seed=6)
    assert tiles.default_tile(40, 64, 256).splits == 4 and tiles.default_tile(40, 64, 64).splits == 2
    stream, splits = make_stream(values, norm.weight, torch.float32), SplitWorkspace(40, [tall, square], CPU)
    add(stream, ResidualProjection(weight=tall, even_gain=norm.weight, odd_gain=norm.weight), x, splits)
    out = torch.empty((40, 64))
    project(stream, NormProjection(norm, square, gelu=True), out, splits)
    return stream.values, stream.scaled, stream.means, stream.deviations, out, splits.arrived


def attention() -> tuple[torch.Tensor, ...]:
    """Return the results of attention over a long and a short sequence."""
    config = DecoderConfig(layers=1, hidden=32, heads=2, ffn=8, vocabulary=8, codebooks=4, channels=1, pad_token=8)
    slots = allocate(config, 2, 300, 1, CPU, torch.float32)
    slots.kv[0].copy_(normal(*slots.kv[0].shape, seed=2))
    for slot, position in enumerate((290, 64)):
        slots.set_pages(slot, range(1 + 5 * slot, 6 + 5 * slot), [11])
        slots.activate(slot, position, 1)
    out, spans = torch.empty((4, 32)), SpanWorkspace(4, 2, 16, 300, CPU, span=PAGE)
    attend(normal(4, 96, seed=1), slots.kv[0], slots, 291, out, spans)
    return out, slots.kv[0], spans.arrived


def sampling() -> tuple[torch.Tensor, ...]:
    """Return the results of sampling four codebooks of two slots, the last of which advances its slot."""
    config = DecoderConfig(layers=0, hidden=8, heads=1, ffn=8, vocabulary=64, codebooks=4, channels=1, pad_token=64)
    slots, arrived = allocate(config, 2, 8, 1, CPU, torch.float32), torch.zeros(2, dtype=torch.int32)
    slots.tokens.fill_(TO_GENERATE)
    slots.top_k.fill_(20)
    slots.active.fill_(True)
    for seed in range(3):
        sample_tokens(normal(4, 4 * 64, seed=seed), slots, arrived)
    return slots.tokens, slots.position, slots.nonfinite, arrived


@pytest.mark.parametrize("work", [products, attention, sampling])
def test_results_do_not_depend_on_the_order_of_programs(work: Work) -> None:
    expected = work()
    for seed in range(3):
        with shuffled(seed):
            got = work()
        for one, other in zip(got, expected, strict=True):
            assert torch.equal(one, other)
