"""Test that a melody model's greedy codes equal transformers': with a text, a melody, both and neither."""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# transformers ships types that strict mode cannot follow.

from dataclasses import replace
from functools import cache
from math import inf
from typing import Any

import pytest
import torch
from transformers import MusicgenMelodyForConditionalGeneration

from musicgen_serving.engine.sampling_params import SamplingParams
from musicgen_serving.engine.step import model_runner, torch_step
from musicgen_serving.engine.step.model_runner import ModelRunner
from musicgen_serving.engine.step.paged_attention import GatheredAttention, SlotAttention
from tests.model_bundle.helpers.fake_graph_recorder import FakeGraphRecorder
from tests.model_bundle.helpers.reference_melody import CHROMA_FRAMES, MelodyReference, make_melody_reference, one_hot
from tests.model_bundle.helpers.reference_musicgen import Reference

FRAMES, POSITIONS = 40, 128
SHORT, LONG = one_hot(7, 1), one_hot(CHROMA_FRAMES + 9, 2)  # repeated, and cut


@pytest.fixture(scope="module")
def mono_melody(tmp_path_factory: pytest.TempPathFactory, one_thread: None) -> MelodyReference:
    return make_melody_reference(tmp_path_factory.mktemp("melody"), channels=1)


@pytest.fixture(scope="module")
def stereo_melody(tmp_path_factory: pytest.TempPathFactory, one_thread: None) -> MelodyReference:
    return make_melody_reference(tmp_path_factory.mktemp("stereo_melody"), channels=2)


@pytest.fixture(params=["mono_melody", "stereo_melody"])
def melody_model(request: pytest.FixtureRequest) -> Any:
    """Run the test with both models."""
    return request.getfixturevalue(request.param)


@pytest.fixture(params=[SlotAttention, GatheredAttention], autouse=True)
def attention(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the test with the attention of CPUs and with that of GPUs without kernels."""
    for module in (model_runner, torch_step):
        monkeypatch.setattr(module, "paged_attention", request.param)


@cache
def transformers_codes(
    reference: MelodyReference, guidance: float, *, text: int | None = None, melody: torch.Tensor | None = None
) -> torch.Tensor:
    """Return the codes of transformers' greedy generate, computed once for both kinds of attention."""
    return reference.codes(FRAMES, guidance, text=text, melody=melody)


@cache
def codes_by_hand(
    reference: MelodyReference, guidance: float, *, text: int | None, negative: int | None, melody: torch.Tensor | None
) -> torch.Tensor:
    """Return the codes of greedy decoding with a negative prompt, computed once for both kinds of attention."""
    return reference.by_hand(FRAMES, guidance, text=text, negative=negative, melody=melody)


def make_runner(reference: MelodyReference, slots: int = 3) -> ModelRunner:
    return reference.runner(slots=slots, positions=POSITIONS, text=0)


def greedy(guidance: float) -> SamplingParams:
    return SamplingParams(do_sample=False, guidance_scale=guidance)


def run(runner: ModelRunner, slots: int, steps: int) -> None:
    for _ in range(steps):
        runner.step(0, slots, length=POSITIONS, text_length=0, max_top_k=128, use_top_p=False)


@pytest.mark.parametrize("guidance", [1.0, 3.0])
@pytest.mark.parametrize("melody", [None, SHORT, LONG], ids=["no melody", "short", "long"])
@pytest.mark.parametrize("text", [None, 0])
def test_codes_equal_transformers(
    melody_model: MelodyReference, guidance: float, melody: torch.Tensor | None, text: int | None
) -> None:
    useful = guidance if text is not None or melody is not None else 1.0  # of equal rows: it amplifies rounding
    expected = transformers_codes(melody_model, useful, text=text, melody=melody)
    runner = make_runner(melody_model, 1)
    states = None if text is None else melody_model.states(text)
    start = runner.admit(0, states, FRAMES, greedy(guidance), 0, melody=melody)
    assert start == CHROMA_FRAMES + (1 if states is None else len(states))
    assert runner.end(FRAMES, 0 if states is None else len(states)) == start + FRAMES + 3
    run(runner, 1, FRAMES + 3)
    assert torch.equal(runner.codes(0, FRAMES), expected)
    assert len(expected.unique()) > 10  # a model that repeats itself would prove little


def test_codes_equal_transformers_in_shuffled_slots_next_to_a_sampled_clip(melody_model: MelodyReference) -> None:
    expected = [
        transformers_codes(melody_model, 3.0, text=0),
        transformers_codes(melody_model, 3.0, text=1, melody=SHORT),
    ]
    runner = make_runner(melody_model)
    runner.admit(2, melody_model.states(1), FRAMES, greedy(3.0), 0, melody=SHORT)
    runner.admit(1, None, FRAMES, SamplingParams(guidance_scale=2.0), 5, melody=LONG)
    run(runner, 3, 7)
    runner.admit(0, melody_model.states(0), FRAMES, greedy(3.0), 0)
    run(runner, 3, FRAMES - 4)
    runner.release(1)
    runner.move(2, 1)
    run(runner, 2, 7)
    for slot, codes in enumerate(expected):
        assert torch.equal(runner.codes(slot, FRAMES), codes)


@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_a_continuation_of_given_codes_equals_transformers(melody_model: MelodyReference, guidance: float) -> None:
    prompt = torch.randint(0, 128, (melody_model.codebooks, 17), generator=torch.Generator().manual_seed(1))
    expected = melody_model.codes(FRAMES, guidance, text=0, melody=SHORT, prompt=prompt)
    runner = make_runner(melody_model, 1)
    start = runner.admit(0, melody_model.states(0), FRAMES, greedy(guidance), 0, prompt, melody=SHORT)
    run(runner, 1, runner.end(FRAMES, 11) - start)
    assert torch.equal(runner.codes(0, FRAMES), expected)
    assert torch.equal(expected[:, :17], prompt)


@pytest.mark.parametrize(("text", "negative"), [(0, 1), (1, 0), (None, 0)])
@pytest.mark.parametrize("melody", [None, SHORT], ids=["no melody", "melody"])
def test_a_negative_prompt_takes_the_unconditional_row(
    melody_model: MelodyReference, text: int | None, negative: int, melody: torch.Tensor | None
) -> None:
    expected = codes_by_hand(melody_model, 3.0, text=text, negative=negative, melody=melody)
    runner = make_runner(melody_model, 1)
    states = None if text is None else melody_model.states(text)
    avoided = melody_model.states(negative)
    start = runner.admit(0, states, FRAMES, greedy(3.0), 0, negative=avoided, melody=melody)
    run(runner, 1, runner.end(FRAMES, 0 if states is None else len(states), len(avoided)) - start)
    assert torch.equal(runner.codes(0, FRAMES), expected)


def test_the_conditions_change_the_codes(mono_melody: MelodyReference) -> None:
    inputs: list[dict[str, Any]] = [
        {"text": text, "melody": melody} for text in (None, 0, 1) for melody in (None, SHORT, LONG)
    ]
    codes = [transformers_codes(mono_melody, 3.0, **one) for one in inputs]
    assert len({tuple(one.flatten().tolist()) for one in codes}) == len(inputs)
    assert torch.equal(codes_by_hand(mono_melody, 3.0, text=0, negative=None, melody=SHORT), codes[4])


def test_recorded_steps_give_the_same_codes(mono_melody: MelodyReference, memory_log: Any) -> None:
    runner, recorder = make_runner(mono_melody), FakeGraphRecorder()
    assert runner.record_graphs(recorder, memory_log.log, inf).count == 3  # for 1, 2 and 3 slots, all of one length
    for slot in range(2):
        runner.admit(slot, mono_melody.states(slot), FRAMES, greedy(3.0), 0, melody=SHORT)
    run(runner, 2, FRAMES + 3)
    assert recorder.replayed == FRAMES + 3
    for slot in range(2):
        assert torch.equal(runner.codes(slot, FRAMES), transformers_codes(mono_melody, 3.0, text=slot, melody=SHORT))


def test_a_clip_holds_the_pages_of_its_prefix_and_its_positions(mono_melody: MelodyReference) -> None:
    runner = make_runner(mono_melody, 1)
    free = runner.allocator.free
    assert free == 2  # 128 positions in pages of 64, and no page of a text
    for frames, pages in ((30, 1), (31, 2)):  # 20 of chroma, 11 of text, 33 or 34 steps
        runner.admit(0, mono_melody.states(0), frames, greedy(3.0), 0)
        assert free - runner.allocator.free == runner.count_pages(frames, 11) == pages
        runner.release(0)


def test_a_melody_for_another_model_is_refused(mono: Reference) -> None:
    with pytest.raises(ValueError, match="a melody needs a melody model"):
        mono.runner().admit(0, None, FRAMES, greedy(3.0), 0, melody=SHORT)


def test_transformers_still_needs_its_repair(mono_melody: MelodyReference) -> None:
    """Once this fails, `ConditionedMusicgenMelody` may go: transformers itself reads texts again."""
    broken = MusicgenMelodyForConditionalGeneration.from_pretrained(mono_melody.folder).eval()
    unrepaired = replace(mono_melody, model=broken)
    assert torch.equal(unrepaired.codes(FRAMES, 3.0, text=0), unrepaired.codes(FRAMES, 3.0, text=1))
