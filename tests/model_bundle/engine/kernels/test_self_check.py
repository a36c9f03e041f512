"""Test that self-verification detects planted faults of kernels, in Triton's interpreter, and passes correct ones."""
# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from musicgen_serving.engine import self_check
from musicgen_serving.engine.kernels import kernel_step
from musicgen_serving.engine.kernels.kernel_step import KernelStep
from musicgen_serving.engine.model.config import DecoderConfig
from musicgen_serving.engine.model.memory import PAGE
from musicgen_serving.engine.model.weights import DecoderWeights
from musicgen_serving.engine.self_check import MAX_ERROR, SelfCheck, SelfCheckError
from musicgen_serving.engine.step.model_runner import ModelRunner
from musicgen_serving.engine.step.slots import Slots, allocate
from musicgen_serving.engine.step.torch_step import TorchStep
from tests.model_bundle.helpers.kernel_inputs import CPU, normal
from tests.model_bundle.helpers.random_weights import eight_bit, random_weights

CONFIG = DecoderConfig(layers=2, hidden=32, heads=2, ffn=64, vocabulary=64, codebooks=2, channels=1, pad_token=64)
POSITIONS, TEXT, SLOTS = 80, 140, 3
Patch = pytest.MonkeyPatch


@pytest.fixture(autouse=True)
def few_positions(monkeypatch: Patch) -> None:
    """Step the first position and across a page's end: the interpreter takes seconds for what a GPU does in no time."""
    monkeypatch.setattr(self_check, "POSITIONS", (0, PAGE - 1))


def make_runner(weights: DecoderWeights, slots: int = SLOTS) -> tuple[ModelRunner, KernelStep]:
    step = KernelStep(CONFIG, weights, POSITIONS)
    return ModelRunner(CONFIG, weights, allocate(CONFIG, slots, POSITIONS, TEXT, CPU, weights.dtype), step), step


def make_check(runner: ModelRunner, memory_log: Any) -> SelfCheck:
    texts = [normal(count, CONFIG.hidden, seed=count) for count in (1, 7, 130)]
    return SelfCheck(runner, texts, memory_log.log, [], budget=1000)  # the interpreter is slow


@pytest.mark.parametrize("quantised", [False, True])
def test_correct_kernels_stay_far_below_the_tolerance_in_half_precision(quantised: bool, memory_log: Any) -> None:
    half = random_weights(CONFIG, POSITIONS, torch.float16)
    runner, step = make_runner(eight_bit(half) if quantised else half)
    before, check = copy_of_slots(runner), make_check(runner, memory_log)
    check.check_step(step)
    assert_untouched(runner, before)
    assert runner.step_fn is step and check.path.step == "kernels" and check.replaced == []
    assert 0 < check.figures["logits_error"] < MAX_ERROR / 10
    assert memory_log.lines() == []


def test_correct_kernels_of_a_melody_model_pass(memory_log: Any) -> None:
    config = replace(CONFIG, chroma_frames=9, chroma_bins=12)
    positions = POSITIONS + 9 + 130  # of the longest text
    weights = random_weights(config, positions, torch.float16)
    step = KernelStep(config, weights, positions)
    runner = ModelRunner(config, weights, allocate(config, SLOTS, positions, 0, CPU, torch.float16), step)
    before, check = copy_of_slots(runner), make_check(runner, memory_log)
    check.check_step(step)
    assert_untouched(runner, before)
    assert runner.step_fn is step and check.replaced == []
    assert 0 < check.figures["logits_error"] < MAX_ERROR / 10


def attention_without_the_last_position(patch: Patch) -> None:
    """Attend to all positions but the last one that is cached."""
    attend = kernel_step.attend

    def wrong(qkv: torch.Tensor, pages: torch.Tensor, state: Slots, *rest: Any) -> None:
        behind = {**state.per_slot(), "position": (state.position - 1).clamp_min(0)}
        attend(qkv, pages, Slots(kv=state.kv, **behind), *rest)

    patch.setattr(kernel_step, "attend", wrong)


def attention_of_a_neighbour(patch: Patch) -> None:
    """Read the pages of another slot, where there is one."""
    attend = kernel_step.attend

    def wrong(qkv: torch.Tensor, pages: torch.Tensor, state: Slots, *rest: Any) -> None:
        others = {**state.per_slot(), "page_table": state.page_table.roll(1, 0)}
        attend(qkv, pages, Slots(kv=state.kv, **others), *rest)

    patch.setattr(kernel_step, "attend", wrong)


def text_without_its_last_token(patch: Patch) -> None:
    attend = kernel_step.attend_to_text

    def wrong(queries: torch.Tensor, pages: torch.Tensor, state: Slots, out: torch.Tensor) -> None:
        shorter = {**state.per_slot(), "text_tokens": state.text_tokens - 1 * (state.text_tokens > 1)}
        attend(queries, pages, Slots(kv=state.kv, **shorter), out)

    patch.setattr(kernel_step, "attend_to_text", wrong)


def text_as_the_negative_prompt(patch: Patch) -> None:
    attend = kernel_step.attend_to_text

    def wrong(queries: torch.Tensor, pages: torch.Tensor, state: Slots, out: torch.Tensor) -> None:
        tokens = state.text_tokens.clone()
        tokens[:, 1] = tokens[:, 0] * (tokens[:, 1] > 0)
        twice = {**state.per_slot(), "text_table": state.text_table[:, [0, 0]], "text_tokens": tokens}
        attend(queries, pages, Slots(kv=state.kv, **twice), out)

    patch.setattr(kernel_step, "attend_to_text", wrong)


def other_text(patch: Patch) -> None:
    """Read the text's second half page first."""
    attend = kernel_step.attend_to_text

    def wrong(queries: torch.Tensor, pages: torch.Tensor, state: Slots, out: torch.Tensor) -> None:
        attend(queries, pages.roll(CONFIG.heads, 1), state, out)

    patch.setattr(kernel_step, "attend_to_text", wrong)


def wrong_sampling(change: Callable[[torch.Tensor, Slots], tuple[torch.Tensor, Slots]], patch: Patch) -> None:
    sample = kernel_step.sample
    patch.setattr(kernel_step, "sample", lambda logits, state, arrived: sample(*change(logits, state), arrived))


def no_guidance(patch: Patch) -> None:
    def change(logits: torch.Tensor, state: Slots) -> tuple[torch.Tensor, Slots]:
        return logits, Slots(kv=state.kv, **{**state.per_slot(), "guidance": torch.ones_like(state.guidance)})

    wrong_sampling(change, patch)


def swapped_codebooks(patch: Patch) -> None:
    def change(logits: torch.Tensor, state: Slots) -> tuple[torch.Tensor, Slots]:
        by_codebook = logits.view(len(logits), CONFIG.codebooks, -1)
        return by_codebook[:, [1, 0]].reshape(logits.shape), state

    wrong_sampling(change, patch)


def no_top_k(patch: Patch) -> None:
    """Sample from all tokens at four times the temperature; greedy clips are right."""

    def change(logits: torch.Tensor, state: Slots) -> tuple[torch.Tensor, Slots]:
        loose = {"top_k": state.top_k * 0 + 64, "top_p": state.top_p * 0 + 1, "temperature": state.temperature * 4}
        return logits, Slots(kv=state.kv, **{**state.per_slot(), **loose})

    wrong_sampling(change, patch)


def nan_in_one_product(patch: Patch) -> None:
    project = kernel_step.project

    def wrong(stream: Any, projection: Any, out: torch.Tensor, splits: Any) -> None:
        project(stream, projection, out, splits)
        out[-1, 3] = torch.nan

    patch.setattr(kernel_step, "project", wrong)


def product_without_a_tile(patch: Patch) -> None:
    """Leave out 16 columns of the inner products, as a wrong tile size would."""
    add = kernel_step.add

    def wrong(stream: Any, projection: Any, x: torch.Tensor, splits: Any) -> None:
        add(stream, projection, torch.cat([x[:, :-16], torch.zeros_like(x[:, -16:])], dim=1), splits)

    patch.setattr(kernel_step, "add", wrong)


def error_at_launch(patch: Patch) -> None:
    def wrong(*_: Any) -> None:
        raise RuntimeError("CUDA error: invalid configuration argument")

    patch.setattr(kernel_step, "embed", wrong)


FAULTS = [
    attention_without_the_last_position, attention_of_a_neighbour, text_without_its_last_token,
    text_as_the_negative_prompt, other_text, no_guidance,
    swapped_codebooks, no_top_k, nan_in_one_product, product_without_a_tile, error_at_launch,
]  # fmt: skip


@pytest.mark.parametrize("plant", FAULTS)
def test_a_planted_fault_is_detected_and_torch_steps(
    plant: Callable[[Patch], None], memory_log: Any, monkeypatch: Patch
) -> None:
    runner, step = make_runner(random_weights(CONFIG, POSITIONS, torch.float16))
    plant(monkeypatch)
    check = make_check(runner, memory_log)
    check.check_step(step)
    (line,) = memory_log.events("self_check_failed")
    assert line["part"] == "kernels" and line["instead"] == "torch's own operations"
    assert isinstance(runner.step_fn, TorchStep)
    assert check.path.step == "torch" and check.replaced == ["kernels"]


def test_a_fault_with_8_bit_weights_is_refused(memory_log: Any, monkeypatch: Patch) -> None:
    runner, step = make_runner(eight_bit(random_weights(CONFIG, POSITIONS, torch.float16)))
    no_guidance(monkeypatch)
    with pytest.raises(SelfCheckError, match=r"greedy tokens differ .* set MUSICGEN_WEIGHT_QUANTISATION=none"):
        make_check(runner, memory_log).check_step(step)


def test_a_broken_reference_is_refused_whatever_the_kernels_compute(memory_log: Any) -> None:
    weights = random_weights(CONFIG, POSITIONS, torch.float16)
    weights.final_norm.weight[5] = torch.nan
    runner, step = make_runner(weights)
    with pytest.raises(SelfCheckError, match=r"finite logits that are not all 0, got norms of .*nan"):
        make_check(runner, memory_log).check_step(step)


@pytest.mark.parametrize("plant", [nan_in_one_product, error_at_launch])
def test_a_failed_verification_leaves_no_trace(
    plant: Callable[[Patch], None], memory_log: Any, monkeypatch: Patch
) -> None:
    runner, step = make_runner(random_weights(CONFIG, POSITIONS, torch.float16), slots=5)
    before = copy_of_slots(runner)
    plant(monkeypatch)
    make_check(runner, memory_log).check_step(step)
    assert_untouched(runner, before)


def copy_of_slots(runner: ModelRunner) -> dict[str, torch.Tensor]:
    return {name: one.clone() for name, one in runner.slots.per_slot().items()}


def assert_untouched(runner: ModelRunner, before: dict[str, torch.Tensor]) -> None:
    assert runner.allocator.free == runner.slots.kv[0].shape[2] // PAGE - 1  # all but the null page
    for name, tensor in runner.slots.per_slot().items():
        assert torch.equal(tensor, before[name]), name
