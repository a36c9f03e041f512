"""Test start-up with kernels in Triton's interpreter: compile, record graphs, step without allocating."""

from math import inf
from typing import Any
from unittest.mock import MagicMock

import pytest
import torch
from triton.runtime.interpreter import InterpretedFunction

from musicgen_serving.engine import loading
from musicgen_serving.engine.kernels.kernel_step import KernelStep
from musicgen_serving.engine.loading import compile_kernels, kernel_step
from musicgen_serving.engine.model.config import DecoderConfig
from musicgen_serving.engine.model.quantisation import Quantised
from musicgen_serving.engine.sampling_params import SamplingParams
from musicgen_serving.engine.step.model_runner import ModelRunner
from musicgen_serving.engine.step.slots import BatchView, allocate, batch_view
from tests.model_bundle.helpers.fake_graph_recorder import FakeGraphRecorder
from tests.model_bundle.helpers.random_weights import random_weights
from tests.model_bundle.helpers.record_operations import META, RecordOperations, to_device

CPU = torch.device("cpu")
POSITIONS, TEXT, FRAMES = 24, 8, 4
SIZES = DecoderConfig(layers=2, hidden=64, heads=2, ffn=128, vocabulary=64, codebooks=4, channels=1, pad_token=64)


def make_runner(slots: int, log: Any) -> ModelRunner:
    weights = random_weights(SIZES, POSITIONS, torch.float32)
    return ModelRunner(
        SIZES, weights, allocate(SIZES, slots, POSITIONS, TEXT, CPU, torch.float32),
        kernel_step(SIZES, weights, POSITIONS, log),
    )  # fmt: skip


def generate_codes(runner: ModelRunner) -> list[torch.Tensor]:
    """Return the codes of two clips with different sampling parameters, the second of which joins later."""
    states = torch.randn(2, 5, SIZES.hidden, generator=torch.Generator().manual_seed(3))
    runner.admit(0, states[0], FRAMES, SamplingParams(do_sample=False), 0)
    for step in range(FRAMES + 5):
        if step == 2:
            runner.admit(1, states[1, :3], FRAMES, SamplingParams(top_k=9, top_p=0.9), 7)
        if step == FRAMES + 3:
            runner.slots.deactivate(0)
        runner.step(0, 1 if step < 2 else 2, length=POSITIONS, text_length=TEXT, max_top_k=64, use_top_p=True)
    return [runner.codes(slot, FRAMES) for slot in range(2)]


def test_recorded_kernel_steps_generate_the_codes_of_torch_steps(memory_log: Any) -> None:
    runner, recorder = make_runner(3, memory_log.log), FakeGraphRecorder()
    assert isinstance(runner.step_fn, KernelStep)
    assert runner.record_graphs(recorder, memory_log.log, inf).count == 3  # for 1, 2 and 3 slots, all of one length
    plain = ModelRunner(
        SIZES, random_weights(SIZES, POSITIONS, torch.float32), allocate(SIZES, 3, POSITIONS, TEXT, CPU, torch.float32)
    )
    for one, other in zip(generate_codes(runner), generate_codes(plain), strict=True):
        assert torch.equal(one, other)
    assert recorder.replayed == FRAMES + 5 and recorder.recorded == 3


@pytest.mark.parametrize("eight_bit", [False, True])
def test_compiles_with_a_one_layer_model_for_every_slot_count(
    eight_bit: bool, memory_log: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[tuple[int, int, int, int]] = []  # layers, slots, length, rows that may attend to a text

    def recording_kernel_step(config: DecoderConfig, weights: Any, positions: int, log: Any) -> Any:
        step = kernel_step(config, weights, positions, log)
        assert step is not None

        def step_fn(view: BatchView, *, max_top_k: int, use_top_p: bool) -> None:
            steps.append((config.layers, view.state.position.shape[0], view.length, view.text_rows))
            assert isinstance(weights.layers[0].ffn_in, Quantised) == eight_bit
            step(view, max_top_k=max_top_k, use_top_p=use_top_p)

        return step_fn

    monkeypatch.setattr(loading, "kernel_step", recording_kernel_step)
    compile_kernels(SIZES, 3, POSITIONS, TEXT, CPU, torch.float32, eight_bit=eight_bit, log=memory_log.log)
    assert steps == [(1, count, POSITIONS, rows) for count in (3, 2, 1) for rows in (1, 2)]


def test_a_kernel_step_neither_allocates_nor_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    launches = MagicMock()
    monkeypatch.setattr(InterpretedFunction, "__getitem__", MagicMock(return_value=launches))
    weights = to_device(META, random_weights(SIZES, POSITIONS, torch.float16))
    slots = allocate(SIZES, 3, POSITIONS, TEXT, META, torch.float16)
    step, one = KernelStep(SIZES, weights, POSITIONS), batch_view(slots, 0, 2, POSITIONS, TEXT)
    step(one, max_top_k=64, use_top_p=True)  # allocates the buffers
    launches.reset_mock()
    with RecordOperations() as operations:
        step(one, max_top_k=64, use_top_p=True)
    views = {"aten.view.dtype", "aten.view.default", "aten.detach.default"}  # which allocate nothing
    assert set(operations.names) <= views
    assert launches.call_count == 8 * SIZES.layers + 3
