"""Tests that need a GPU, run by `make test-gpu`. Elsewhere they are deselected, as pytest's last lines say."""

# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import pytest
import torch

from benchmarks.checkpoints import write_checkpoint
from benchmarks.gpu import logit_error
from benchmarks.gpu.clip_times import Plan, admitted
from benchmarks.gpu.step_launches import trace_steps
from musicgen_serving.engine.generator import Capacity, Generator
from musicgen_serving.engine.loading import WeightFormat, kernel_step
from musicgen_serving.engine.sampling_params import ClipSpec, SamplingParams
from musicgen_serving.engine.self_check import MAX_ERROR
from musicgen_serving.engine.step import torch_step
from musicgen_serving.engine.step.graphs import CudaRecorder
from musicgen_serving.engine.step.model_runner import ModelRunner
from musicgen_serving.engine.step.slots import allocate

pytestmark = [pytest.mark.gpu, pytest.mark.filterwarnings("default")]  # a GPU's libraries may warn

DEVICE = torch.device("cuda", 0)
POSITIONS, TEXT, FRAMES, SLOTS = 320, 24, 280, 4
PLAN = Plan(steps=60, rounds=1, in_flight=(2,), stock=(), stock_steps=0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a checkpoint of musicgen-small's shapes."""
    made = tmp_path_factory.mktemp("small") / "small"
    write_checkpoint(made, "small", DEVICE)
    return made


@pytest.fixture
def generator(folder: Path, memory_log: Any) -> Iterator[Generator]:
    loaded = Generator(folder, weight_format=WeightFormat(), capacity=Capacity(slots=SLOTS), log=memory_log.log)
    yield loaded
    loaded.close()


def make_runner(folder: Path, kernels: bool, log: Any) -> ModelRunner:
    """Return a runner in float16, stepped by kernels or by torch."""
    config, weights = logit_error.read_decoder(folder, DEVICE, torch.float16, eight_bit=False, positions=POSITIONS)
    slots = allocate(config, SLOTS, POSITIONS, TEXT, DEVICE, torch.float16)
    return ModelRunner(config, weights, slots, kernel_step(config, weights, POSITIONS, log) if kernels else None)


def text_width(runner: ModelRunner) -> int:
    """Return the width of a text's states."""
    return runner.weights.project.weight.shape[1] if runner.weights.project else runner.config.hidden


def generate_tokens(runner: ModelRunner, steps: int, negative: bool = False) -> torch.Tensor:
    """Return the tokens of three clips that join one after the other, the first of which leaves early."""
    generator = torch.Generator(runner.device).manual_seed(1)
    texts = [
        torch.randn(count, text_width(runner), generator=generator, device=runner.device) for count in (TEXT, 1, 9)
    ]
    params = [SamplingParams(do_sample=False), SamplingParams(top_k=50, top_p=0.9), SamplingParams(guidance_scale=1)]
    negatives = [texts[2] if negative else None for _ in params]
    for step in range(steps):
        if step % 5 == 0 and step < 15:
            slot = step // 5
            runner.admit(slot, texts[slot], FRAMES, params[slot], seed=step, negative=negatives[slot])
        if step == steps - 20:
            runner.slots.deactivate(0)
        count = min(step // 5 + 1, 3)
        runner.step(0, count, length=POSITIONS, text_length=TEXT, max_top_k=runner.config.vocabulary, use_top_p=True)
    return runner.slots.tokens[:3].clone()


@pytest.mark.parametrize("eight_bit", [False, True])
def test_compiled_kernels_compute_the_logits_of_torch(folder: Path, eight_bit: bool, memory_log: Any) -> None:
    decoder = logit_error.read_decoder(folder, DEVICE, torch.float16, eight_bit)
    tokens, states = logit_error.random_inputs(folder, DEVICE)
    got = logit_error.served_logits(decoder, tokens, states, memory_log.log)
    assert logit_error.relative_error(got, logit_error.torch_logits(decoder, tokens, states)) < 1e-2
    assert memory_log.events("kernels_missing") == []


def test_compiled_kernels_sample_the_tokens_of_torch(
    folder: Path, memory_log: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    sampled: list[torch.Tensor] = []
    for kernels in (False, True):
        runner = make_runner(folder, kernels, memory_log.log)
        states = torch.zeros(3, text_width(runner), device=DEVICE)
        all_params = [SamplingParams(do_sample=False), SamplingParams(top_k=50, top_p=0.9), SamplingParams()]
        for slot, params in enumerate(all_params):
            runner.admit(slot, states, FRAMES, params, seed=slot)
        for step in range(40):
            sample_from(random_logits(runner, step), runner, kernels, monkeypatch)
        sampled.append(runner.slots.tokens[:3, :, :40].clone())
    assert (sampled[0] == sampled[1]).float().mean() > 0.99  # logarithms may differ in their last bit
    assert len(sampled[0].unique()) > 200


def random_logits(runner: ModelRunner, seed: int) -> torch.Tensor:
    """Return logits [slots, 2, K * V]."""
    generator = torch.Generator(DEVICE).manual_seed(seed)
    width = runner.config.codebooks * runner.config.vocabulary
    return torch.randn(SLOTS, 2, width, generator=generator, device=DEVICE) * 3


def sample_from(logits: torch.Tensor, runner: ModelRunner, kernels: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sample every active slot's next tokens from these logits."""
    if kernels:
        from musicgen_serving.engine.kernels.sampling import sample

        sample(logits.view(2 * SLOTS, -1), runner.slots, torch.zeros(SLOTS, device=DEVICE, dtype=torch.int32))
    else:
        monkeypatch.setattr(torch_step, "forward", MagicMock(return_value=logits))
        runner.step(0, SLOTS, length=POSITIONS, text_length=TEXT, max_top_k=runner.config.vocabulary, use_top_p=True)


@pytest.mark.parametrize("eight_bit", [False, True])
def test_float16_logits_are_close_to_float32(folder: Path, eight_bit: bool, memory_log: Any) -> None:
    error = logit_error.logit_errors(folder, DEVICE, memory_log.log, eight_bit=eight_bit)["both_rows"]
    assert error < (0.1 if eight_bit else 1e-2)


@pytest.mark.parametrize("kernels", [False, True])
@pytest.mark.parametrize("negative", [False, True])
def test_graphs_generate_the_tokens_of_steps_without_graphs(
    folder: Path, kernels: bool, negative: bool, memory_log: Any
) -> None:
    plain, recorded = (make_runner(folder, kernels, memory_log.log) for _ in range(2))
    done = recorded.record_graphs(CudaRecorder(DEVICE), memory_log.log)
    assert done.count == done.total and memory_log.events("graph_failed") == []
    expected = generate_tokens(use_buckets(plain, recorded), 300, negative)
    assert torch.equal(generate_tokens(recorded, 300, negative), expected)
    assert memory_log.events("graph_failed") == []
    assert len(expected.unique()) > 100


def use_buckets(plain: ModelRunner, recorded: ModelRunner) -> ModelRunner:
    """Let `plain` step in the shapes of the other's graphs, because on a GPU rounding depends on the shape."""
    step, graphs = plain.step, recorded.graphs
    assert graphs is not None

    def bucket_step(first: int, count: int, *, length: int, text_length: int, max_top_k: int, use_top_p: bool) -> None:
        bucket = graphs.find_bucket(count, length)
        step(
            first, bucket.slots, length=bucket.length, text_length=text_length, max_top_k=max_top_k, use_top_p=use_top_p
        )

    plain.step = bucket_step
    return plain


def test_a_step_is_one_launch_without_waiting(folder: Path) -> None:
    launches = trace_steps(folder, 20)
    assert launches.pop("other_kernels") <= 2, "torch 2.6 launches two of its own before each graph"
    assert launches == {"graph_launches": 1, "copies": 0, "waits": 0}


def test_a_step_does_not_synchronise(generator: Generator) -> None:
    with admitted(generator, 2, PLAN):
        torch.cuda.set_sync_debug_mode("error")
        try:
            for _ in range(10):
                generator.runner.step(
                    0, 2, length=256, text_length=generator.runner.text_length, max_top_k=250, use_top_p=False
                )
        finally:
            torch.cuda.set_sync_debug_mode("default")
    torch.cuda.synchronize()


def test_the_engine_repeats_a_clip_and_logs_a_start_without_fallbacks(generator: Generator, memory_log: Any) -> None:
    clips = [ClipSpec("calm piano", seed, SamplingParams(max_new_tokens=80)) for seed in range(6)]
    first = generator.generate(clips[:1]).clips[0]
    np.testing.assert_array_equal(generator.generate(clips[:1]).clips[0], first)
    assert len(generator.generate(clips).clips) == 6
    (start,) = memory_log.events("loaded")
    assert start["graphs"] == start["graphs_of"] > 0 and start["compile_seconds"] > 0
    assert (start["step"], start["launch"], start["replaced"]) == ("kernels", "graphs", [])
    assert 0 < start["self_check_seconds"] <= 5 and start["logits_error"] < MAX_ERROR / 2
    assert {line["event"] for line in memory_log.lines()} == {"loaded"}  # no line about a fallback
