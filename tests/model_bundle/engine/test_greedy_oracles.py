"""Test that greedy codes equal transformers': guidance, negative prompts, no text, and sizes of every kind."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# transformers ships types that strict mode cannot follow.

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from musicgen_serving.engine.sampling_params import SamplingParams
from musicgen_serving.engine.step import model_runner, torch_step
from musicgen_serving.engine.step.model_runner import ModelRunner
from musicgen_serving.engine.step.paged_attention import GatheredAttention, SlotAttention
from tests.model_bundle.helpers.reference_musicgen import Reference, make_reference

FRAMES = 20
BOTH, CPUS = (SlotAttention, GatheredAttention), (SlotAttention,)


def greedy(guidance: float = 3.0) -> SamplingParams:
    return SamplingParams(do_sample=False, guidance_scale=guidance)


@pytest.fixture
def assert_codes(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], list[torch.Tensor]], torch.Tensor], None]:
    """Return what asserts that clips have the expected codes, whether CPUs' or GPUs' attention computes them."""

    def check(
        decode: Callable[[], list[torch.Tensor]], expected: torch.Tensor, attentions: tuple[type, ...] = BOTH
    ) -> None:
        assert len(expected.unique()) >= 20  # a model that repeats itself would prove little
        for attention in attentions:
            for module in (model_runner, torch_step):
                monkeypatch.setattr(module, "paged_attention", attention)
            for codes, one in zip(decode(), expected, strict=True):
                assert torch.equal(codes, one)

    return check


def finish(runner: ModelRunner, slots: int, frames: int, start: int = 0) -> list[torch.Tensor]:
    """Step the first slots from a position until their clips are finished; return their codes."""
    for _ in range(start, frames + 3):
        runner.step(
            0, slots, length=runner.positions, text_length=runner.text_length, max_top_k=1, use_top_p=False
        )  # fmt: skip
    return [runner.codes(slot, frames) for slot in range(slots)]


def decode_texts(reference: Reference, frames: int, params: SamplingParams, positions: int = 128) -> list[torch.Tensor]:
    """Return the codes of a clip for each text, all decoded together."""
    count = len(reference.ids)
    runner = reference.runner(slots=count, text=int(reference.mask.sum(1).max()), positions=positions)
    for slot in range(count):
        runner.admit(slot, reference.states(slot), frames, params, 0)
    return finish(runner, count, frames)


@pytest.mark.parametrize("guidance", [1, 1.0001, 3, 20])
def test_any_guidance(reference: Reference, guidance: float, assert_codes: Callable[..., None]) -> None:
    expected = reference.greedy(FRAMES, guidance)
    assert_codes(lambda: decode_texts(reference, FRAMES, greedy(guidance)), expected)


@pytest.mark.parametrize(("hidden", "vocabulary"), [(54, 32), (72, 2048), (100, 128)])
def test_widths_and_vocabularies(
    hidden: int, vocabulary: int, tmp_path: Path, assert_codes: Callable[..., None], one_thread: None
) -> None:
    reference = make_reference(tmp_path, 1, hidden=hidden, vocabulary=vocabulary, layers=4)
    expected = reference.greedy(FRAMES, 3)
    assert_codes(lambda: decode_texts(reference, FRAMES, greedy()), expected)


@pytest.mark.parametrize("lengths", [[1, 101, 511, 512], [3, 64, 1, 65, 128, 17, 129, 2]])
def test_texts_of_any_lengths_at_once(lengths: list[int], mono: Reference, assert_codes: Callable[..., None]) -> None:
    reference = mono.with_texts(lengths)
    expected = reference.greedy(FRAMES, 3)
    assert len({tuple(codes.flatten().tolist()) for codes in expected}) == len(lengths)
    assert_codes(lambda: decode_texts(reference, FRAMES, greedy()), expected)


def test_eight_clips_of_unequal_lengths_at_once(mono: Reference, assert_codes: Callable[..., None]) -> None:
    """A shorter clip equals the start of a longer one, but for its end: there the longer one still has tokens."""
    reference, frames = mono.with_texts([5, 9, 2, 7, 16, 3, 11, 1]), [60, 7, 33, 34, 4, 59, 20, 48]
    expected = reference.greedy(max(frames), 3)

    def decode() -> list[torch.Tensor]:
        runner = reference.runner(slots=8)
        for slot, length in enumerate(frames):
            runner.admit(slot, reference.states(slot), length, greedy(), 0)
        codes = finish(runner, 8, max(frames))
        assert all(codes[slot][0, length - 1] < 128 for slot, length in enumerate(frames))
        clips = zip(codes, frames, expected, strict=True)
        return [torch.cat([one[:, : length - 3], rest[:, length - 3 :]], 1) for one, length, rest in clips]

    assert_codes(decode, expected)


@pytest.mark.parametrize("given", [1, 2, 3, 4, 50, 100])
def test_prompts_of_any_length(given: int, reference: Reference, assert_codes: Callable[..., None]) -> None:
    frames = given + 16
    prompt = torch.randint(0, 128, (2, reference.codebooks, given), generator=torch.Generator().manual_seed(given))
    expected = reference.greedy(frames, 3, prompt)
    assert torch.equal(expected[:, :, :given], prompt)

    def decode() -> list[torch.Tensor]:
        runner = reference.runner(slots=2)
        for slot in range(2):
            assert runner.admit(slot, reference.states(slot), frames, greedy(), 0, prompt[slot]) == given
        return finish(runner, 2, frames, given)

    assert_codes(decode, expected)


def test_the_longest_clip(tmp_path: Path, assert_codes: Callable[..., None], one_thread: None) -> None:
    reference = make_reference(tmp_path, 1, layers=1).with_texts([101])
    expected = reference.greedy(1500, 3)
    assert_codes(lambda: decode_texts(reference, 1500, greedy(), positions=1503), expected, CPUS)


# ---- negative prompts, and clips without a text


@pytest.mark.parametrize("guidance", [1.0001, 3])
def test_the_oracle_for_negative_prompts_equals_generate_without_one(reference: Reference, guidance: float) -> None:
    expected = reference.greedy(FRAMES, guidance)
    for text in range(2):
        assert torch.equal(reference.guided_by_hand(FRAMES, guidance, text, None), expected[text])


@pytest.mark.parametrize("guidance", [1, 1.0001, 3, 20])
def test_negative_prompts(reference: Reference, guidance: float, assert_codes: Callable[..., None]) -> None:
    """Both clips have the other's text as their negative prompt; the neighbour between them has none."""
    expected = torch.stack([reference.guided_by_hand(FRAMES, guidance, text, 1 - text) for text in range(2)])
    neighbour = reference.greedy(FRAMES, guidance)[0]
    if guidance > 2:
        assert not torch.equal(expected[0], neighbour)

    def decode() -> list[torch.Tensor]:
        runner = reference.runner(slots=4)
        for slot, text in ((3, 0), (2, 1)):
            negative = reference.states(1 - text)
            runner.admit(slot, reference.states(text), FRAMES, greedy(guidance), 0, negative=negative)
        runner.admit(1, reference.states(0), FRAMES, greedy(guidance), 0)
        runner.move(3, 0)
        codes = finish(runner, 3, FRAMES)
        return [codes[0], codes[2], codes[1]]

    assert_codes(decode, torch.stack([*expected, neighbour]))


@pytest.mark.parametrize("lengths", [[1, 512], [129, 64]])
def test_negative_prompts_of_other_lengths(
    lengths: list[int], mono: Reference, assert_codes: Callable[..., None]
) -> None:
    reference = mono.with_texts(lengths)
    expected = torch.stack([reference.guided_by_hand(FRAMES, 3, text, 1 - text) for text in range(2)])

    def decode() -> list[torch.Tensor]:
        runner = reference.runner(slots=2, text=max(lengths))
        for slot in range(2):
            negative = reference.states(1 - slot)
            runner.admit(slot, reference.states(slot), FRAMES, greedy(), 0, negative=negative)
        return finish(runner, 2, FRAMES)

    assert_codes(decode, expected)


def test_a_negative_prompt_with_a_prompt_of_codes(mono: Reference, assert_codes: Callable[..., None]) -> None:
    """A clip that continues its own first codes goes on as it did."""
    expected = mono.guided_by_hand(FRAMES, 3, 0, 1)[None]

    def decode() -> list[torch.Tensor]:
        runner = mono.runner(slots=1)
        prompt = expected[0, :, :9]
        runner.admit(0, mono.states(0), FRAMES, greedy(), 0, prompt, negative=mono.states(1))
        return finish(runner, 1, FRAMES, 9)

    assert_codes(decode, expected)


@pytest.mark.parametrize("guidance", [1, 3, 20])
def test_clips_without_a_text_alone_and_next_to_others(
    guidance: float, reference: Reference, assert_codes: Callable[..., None]
) -> None:
    expected = reference.unconditional(FRAMES)
    text = reference.greedy(FRAMES, guidance)[0]
    assert not torch.equal(expected, text)

    def decode() -> list[torch.Tensor]:
        alone, runner = reference.runner(slots=1), reference.runner(slots=3)
        alone.admit(0, None, FRAMES, greedy(guidance), 0)
        runner.admit(0, reference.states(0), FRAMES, greedy(guidance), 0)
        runner.admit(1, None, FRAMES, greedy(guidance), 0)
        runner.admit(2, reference.states(0), FRAMES, greedy(guidance), 0, negative=reference.states(1))
        return [*finish(alone, 1, FRAMES), *finish(runner, 2, FRAMES)[::-1]]

    assert_codes(decode, torch.stack([expected, expected, text]))
