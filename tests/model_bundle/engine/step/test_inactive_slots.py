"""Test that a step skips inactive slots, so that a run of slots can be rounded up."""

# pyright: reportUnknownMemberType=false
# transformers ships types that strict mode cannot follow.

import torch

from musicgen_serving.engine.sampling_params import SamplingParams
from tests.model_bundle.helpers.reference_musicgen import Reference

FRAMES = 20
GREEDY = SamplingParams(do_sample=False)


def test_a_step_leaves_inactive_slots_unchanged(mono: Reference) -> None:
    runner = mono.runner(slots=4)
    for slot in range(3):
        runner.admit(slot, mono.states(0), FRAMES, GREEDY, 0)
    for _ in range(5):
        runner.step(0, 3, length=128, text_length=16, max_top_k=1, use_top_p=False)
    runner.slots.deactivate(1)
    runner.slots.nonfinite[3] = True
    before = {slot: (runner.slots.tokens[slot].clone(), int(runner.slots.position[slot])) for slot in (1, 3)}
    for _ in range(FRAMES):
        runner.step(0, 4, length=128, text_length=16, max_top_k=1, use_top_p=False)
    for slot, (tokens, position) in before.items():
        assert torch.equal(runner.slots.tokens[slot], tokens)
        assert int(runner.slots.position[slot]) == position == 0
    assert runner.slots.position.tolist() == [FRAMES + 5, 0, FRAMES + 5, 0]
    assert runner.slots.nonfinite.tolist() == [False, False, False, True]


def test_nonfinite_logits_are_flagged_only_in_active_slots(mono: Reference) -> None:
    runner = mono.runner()
    for slot in range(2):
        runner.admit(slot, mono.states(0) * float("nan"), FRAMES, GREEDY, 0)
    runner.slots.deactivate(1)
    runner.step(0, 3, length=128, text_length=16, max_top_k=1, use_top_p=False)
    assert runner.slots.nonfinite.tolist() == [True, False, False]


def test_a_rounded_up_run_generates_the_same_codes(mono: Reference) -> None:
    expected = mono.greedy(FRAMES, 3.0, None)
    runner = mono.runner(slots=8)
    runner.admit(0, mono.states(0), FRAMES, GREEDY, 0)
    for _ in range(FRAMES + 3):
        runner.step(0, 8, length=128, text_length=16, max_top_k=1, use_top_p=False)
    assert torch.equal(runner.codes(0, FRAMES), expected[0])


def test_moving_a_slot_moves_its_text_length_and_active_flag(mono: Reference) -> None:
    runner = mono.runner()
    runner.admit(2, mono.states(1), FRAMES, GREEDY, 0)
    runner.admit(1, mono.states(0), FRAMES, GREEDY, 0)
    assert runner.slots.text_tokens.tolist() == [[0, 0], [11, 0], [5, 0]]
    assert runner.slots.active.tolist() == [False, True, True]
    runner.move(2, 0)
    assert runner.slots.text_tokens.tolist()[:2] == [[5, 0], [11, 0]]
    assert runner.slots.active.tolist() == [True, True, False]
