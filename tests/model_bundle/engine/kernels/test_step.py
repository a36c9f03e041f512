"""Test the whole kernel step, in Triton's interpreter, against the step in torch's operations."""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from triton.runtime.interpreter import InterpretedFunction

from musicgen_serving.engine.kernels.kernel_step import KernelStep
from musicgen_serving.engine.model.config import DecoderConfig
from musicgen_serving.engine.model.decoder import forward
from musicgen_serving.engine.model.memory import PAGE
from musicgen_serving.engine.model.weights import DecoderWeights
from musicgen_serving.engine.sampling_params import SamplingParams
from musicgen_serving.engine.step.model_runner import ModelRunner
from musicgen_serving.engine.step.paged_attention import paged_attention
from musicgen_serving.engine.step.slots import BatchView, allocate, batch_view
from musicgen_serving.engine.step.torch_step import StepFn, TorchStep
from tests.model_bundle.helpers.kernel_inputs import CPU, normal, relative_error
from tests.model_bundle.helpers.random_weights import eight_bit, random_weights, single_precision

CONFIG = DecoderConfig(layers=2, hidden=64, heads=2, ffn=128, vocabulary=64, codebooks=4, channels=1, pad_token=64)
POSITIONS, TEXT, SLOTS, FRAMES = 96, 12, 3, 80
MakeStep = Callable[[DecoderConfig, DecoderWeights], StepFn]


def make_kernel_step(config: DecoderConfig, weights: DecoderWeights) -> KernelStep:
    return KernelStep(config, weights, POSITIONS)


def make_weights(dtype: torch.dtype, quantised: bool = False, config: DecoderConfig = CONFIG) -> DecoderWeights:
    weights = random_weights(config, POSITIONS, dtype)
    return eight_bit(weights) if quantised else weights


def make_runner(
    weights: DecoderWeights, make_step: MakeStep, greedy: bool, config: DecoderConfig = CONFIG
) -> ModelRunner:
    """Return a runner with three clips: one with a prompt longer than an attention block, one with a one-token text."""
    slots = allocate(config, SLOTS, POSITIONS, TEXT, CPU, weights.dtype)
    for pages in slots.kv:
        pages.zero_()  # to be compared whole
    runner = ModelRunner(config, weights, slots, make_step(config, weights))
    prompt = torch.randint(64, (config.codebooks, 61), generator=torch.Generator().manual_seed(1))
    for slot, (count, given) in enumerate([(7, prompt), (1, None), (TEXT, None)]):
        params = SamplingParams(do_sample=not greedy, guidance_scale=3 - slot, top_k=20, top_p=1 - slot / 5)
        runner.admit(slot, normal(count, 64, seed=slot), FRAMES, params, seed=slot, prompt=given)
    return runner


def make_mixed_runner(weights: DecoderWeights, make_step: MakeStep) -> ModelRunner:
    """Return a runner with a clip that has a negative prompt, one without a text, and an ordinary one."""
    runner = ModelRunner(
        CONFIG, weights, allocate(CONFIG, SLOTS, POSITIONS, TEXT, CPU, weights.dtype), make_step(CONFIG, weights)
    )
    text, negative = normal(TEXT, 64, seed=1), normal(5, 64, seed=2)
    runner.admit(0, text, FRAMES, SamplingParams(guidance_scale=3, top_k=20), seed=1, negative=negative)
    runner.admit(1, None, FRAMES, SamplingParams(guidance_scale=20), seed=2)
    runner.admit(2, text[:7], FRAMES, SamplingParams(do_sample=False), seed=3)
    return runner


def run_steps(runner: ModelRunner, count: int) -> torch.Tensor:
    for _ in range(count):
        runner.step(0, SLOTS, length=POSITIONS, text_length=TEXT, max_top_k=64, use_top_p=True)
    return runner.slots.tokens.clone()


@pytest.mark.parametrize(("greedy", "quantised"), [(True, False), (False, True)])
def test_decodes_the_tokens_of_torch(greedy: bool, quantised: bool) -> None:
    config = replace(CONFIG, heads=4)  # the others have as many as a slot has rows, which could be confused
    weights = make_weights(torch.float32, quantised, config)
    runners = [make_runner(weights, make, greedy, config) for make in (TorchStep, make_kernel_step)]
    tokens = [run_steps(runner, 5) for runner in runners]
    assert torch.equal(*tokens)
    assert torch.equal(runners[0].slots.position, runners[1].slots.position)
    assert len({int(token) for token in tokens[0][:, :, 1:5].flatten()}) > 10  # not one token repeated
    for one, other in zip(*(runner.slots.kv for runner in runners), strict=True):
        torch.testing.assert_close(one[:, :, PAGE:], other[:, :, PAGE:], atol=1e-4, rtol=1e-4)


def test_decodes_negative_prompts_and_clips_without_a_text_like_torch() -> None:
    weights = make_weights(torch.float32)
    runners = [make_mixed_runner(weights, make) for make in (TorchStep, make_kernel_step)]
    tokens = [run_steps(runner, 4) for runner in runners]
    assert torch.equal(*tokens)
    for runner in runners:
        runner.release(0)  # the next steps are those of a batch without a negative prompt
    tokens = [run_steps(runner, 2) for runner in runners]
    assert torch.equal(*tokens)
    assert not any(runner.slots.nonfinite.any() for runner in runners)


def test_a_neighbours_negative_prompt_changes_no_bit_of_a_clip() -> None:
    """The unconditional rows without a text pass through the products of cross-attention, which add exactly zero."""
    weights, logits = make_weights(torch.float32), list[torch.Tensor]()
    for text_rows in (1, 2):
        step = make_kernel_step(CONFIG, weights)
        runner = make_runner(weights, lambda _config, _weights, step=step: step, True)
        step(batch_view(runner.slots, 0, SLOTS, POSITIONS, TEXT, text_rows), max_top_k=64, use_top_p=True)
        logits.append(step.buffers(SLOTS).logits.clone())
    assert torch.equal(*logits)


def test_decodes_the_stereo_tokens_of_torch() -> None:
    config = replace(CONFIG, layers=1, codebooks=8, channels=2)
    weights = make_weights(torch.float32, config=config)
    tokens = [run_steps(make_runner(weights, make, False, config), 3) for make in (TorchStep, make_kernel_step)]
    assert torch.equal(*tokens)


MELODY = replace(CONFIG, chroma_frames=9, chroma_bins=12)


def make_melody_runner(weights: DecoderWeights, make_step: MakeStep) -> ModelRunner:
    """Return a melody model's runner with three clips, whose prefixes are of different lengths; one has a prompt."""
    runner = ModelRunner(
        MELODY, weights, allocate(MELODY, SLOTS, POSITIONS, 0, CPU, weights.dtype), make_step(MELODY, weights)
    )
    prompt = torch.randint(64, (4, 50), generator=torch.Generator().manual_seed(1))
    for slot, (count, given) in enumerate([(7, prompt), (1, None), (20, None)]):
        params = SamplingParams(do_sample=slot > 0, guidance_scale=3 - slot, top_k=20)
        chroma = torch.eye(12)[torch.arange(5) + slot]
        negative = normal(12, 64, seed=9) if slot == 1 else None
        runner.admit(
            slot, normal(count, 64, seed=slot), 60, params, slot, prompt=given, negative=negative, melody=chroma
        )  # fmt: skip
    return runner


@pytest.mark.parametrize("quantised", [False, True])
def test_decodes_a_melody_models_tokens_of_torch(quantised: bool) -> None:
    weights = make_weights(torch.float32, quantised, MELODY)
    runners = [make_melody_runner(weights, make) for make in (TorchStep, make_kernel_step)]
    assert runners[0].slots.position.tolist() == [9 + 7 + 50, 9 + 12, 9 + 20]
    for _ in range(4):
        for runner in runners:
            runner.step(0, SLOTS, length=POSITIONS, text_length=0, max_top_k=64, use_top_p=True)
    assert torch.equal(runners[0].slots.tokens, runners[1].slots.tokens)
    assert torch.equal(runners[0].slots.position, runners[1].slots.position)
    assert len({int(token) for token in runners[0].slots.tokens[1:, :, 21:33].flatten()}) > 10


def test_half_precision_logits_are_closer_to_float32_than_torchs() -> None:
    half = make_weights(torch.float16)
    runners = [make_runner(one, make_kernel_step, True) for one in (single_precision(half), half, half)]
    runs = [batch_view(runner.slots, 0, SLOTS, POSITIONS, TEXT) for runner in runners]
    exact, by_torch = torch_logits(single_precision(half), runs[0]), torch_logits(half, runs[1])
    step = make_kernel_step(CONFIG, half)
    step(runs[2], max_top_k=64, use_top_p=True)
    by_kernel = step.buffers(SLOTS).logits.view(SLOTS, 2, -1)
    assert relative_error(by_kernel, exact) < min(2e-3, relative_error(by_torch, exact))


def torch_logits(weights: DecoderWeights, view: BatchView) -> torch.Tensor:
    """Return logits [n, 2, K * V]."""
    position = view.state.position
    tokens = view.state.tokens.gather(2, position[:, None, None].expand(-1, CONFIG.codebooks, 1))
    return forward(weights, CONFIG.heads, paged_attention(view, position[:, None]), tokens, position[:, None]).float()


def test_an_inactive_slot_is_left_unchanged_and_does_not_affect_its_neighbours() -> None:
    weights = make_weights(torch.float32)
    alone, runner = (make_runner(weights, make_kernel_step, False) for _ in range(2))
    pages: list[int] = [*runner.slots.page_table[1].tolist(), *runner.slots.text_table[1, 0].tolist()]
    runner.slots.deactivate(1)
    before, cache = runner.slots.tokens[1].clone(), [layer[:, :, in_pages(pages)].clone() for layer in runner.slots.kv]
    expected, tokens = run_steps(alone, 2), run_steps(runner, 2)
    assert torch.equal(tokens[[0, 2]], expected[[0, 2]])
    assert torch.equal(tokens[1], before)
    assert int(runner.slots.position[1]) == 0
    for layer, kept in zip(runner.slots.kv, cache, strict=True):
        assert torch.equal(layer[:, :, in_pages(pages)], kept)


def in_pages(pages: list[int]) -> list[int]:
    """Return every place of these pages."""
    assert len(pages) == 3 and 0 not in pages
    return [page * PAGE + place for page in pages for place in range(PAGE)]


def test_a_nonfinite_slot_is_flagged_and_does_not_affect_others() -> None:
    runner = make_runner(make_weights(torch.float32), make_kernel_step, True)
    runner.slots.kv[1][0, 1, int(runner.slots.text_table[1, 0, 0]) * PAGE] = torch.nan
    run_steps(runner, 2)
    assert torch.equal(runner.slots.nonfinite, torch.tensor([False, True, False]))


def test_each_slot_count_has_one_set_of_buffers() -> None:
    config = replace(CONFIG, layers=1)
    weights = make_weights(torch.float32, config=config)
    step = make_kernel_step(config, weights)
    runner = make_runner(weights, lambda _config, _weights: step, True, config)
    whole = run_steps(make_runner(weights, make_kernel_step, True, config), 2)
    for _ in range(2):
        for slot in range(SLOTS):
            runner.step(slot, 1, length=POSITIONS, text_length=TEXT, max_top_k=64, use_top_p=True)
    assert torch.equal(runner.slots.tokens, whole)
    assert step.buffers(1) is step.buffers(1)
    assert step.buffers(1) is not step.buffers(2)


@pytest.mark.parametrize(("layers", "each"), [(1, 8), (3, 8), (2, 5)])
def test_a_step_takes_8_launches_a_layer_5_in_a_melody_model_and_3_more(
    layers: int, each: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(CONFIG if each == 8 else MELODY, layers=layers)
    weights = make_weights(torch.float32, config=config)
    slots = allocate(config, SLOTS, POSITIONS, 0 if config.melody else TEXT, CPU, weights.dtype)
    runner = ModelRunner(config, weights, slots, make_kernel_step(config, weights))
    runner.admit(0, None, 20, SamplingParams(), seed=0)
    launched: list[str] = []
    launch: Any = getattr(InterpretedFunction, "__getitem__")  # noqa: B009 (it has no type)

    def counting_launch(function: Any, grid: Any) -> Any:
        launched.append(function.fn.__name__)
        return launch(function, grid)

    monkeypatch.setattr(InterpretedFunction, "__getitem__", counting_launch)
    runner.step(0, SLOTS, length=POSITIONS, text_length=runner.text_length, max_top_k=64, use_top_p=True)
    assert len(launched) == each * layers + 3
