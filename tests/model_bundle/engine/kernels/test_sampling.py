"""Test that the sampling kernel, in Triton's interpreter, samples the same tokens as the torch implementation."""

from dataclasses import replace

import pytest
import torch

from musicgen_serving.engine.kernels.sampling import sample as sample_tokens
from musicgen_serving.engine.model.config import DecoderConfig
from musicgen_serving.engine.step.delay_pattern import TO_GENERATE
from musicgen_serving.engine.step.sampling import apply_guidance, sample
from musicgen_serving.engine.step.slots import Slots, allocate
from tests.model_bundle.helpers.kernel_inputs import CPU, normal

CONFIG = DecoderConfig(layers=0, hidden=8, heads=1, ffn=8, vocabulary=2048, codebooks=4, channels=1, pad_token=2048)
SLOTS, POSITIONS = 6, 12


def make_slots(greedy: bool = False, top_p: float = 1) -> Slots:
    """Return slots with different parameters and positions, all of whose tokens are yet to be generated."""
    slots = allocate(CONFIG, SLOTS, POSITIONS, 1, CPU, torch.float32)
    slots.tokens.fill_(TO_GENERATE)
    slots.active.fill_(True)
    slots.position.copy_(torch.tensor([0, 3, 5, 7, 9, 11]))
    slots.guidance.copy_(torch.tensor([3.0, 1.0, 2.0, 5.0, 0.0, 3.0]))
    slots.temperature.copy_(torch.tensor([1.0, 0.7, 1.3, 2.0, 0.1, 1.0]))
    slots.top_k.copy_(torch.tensor([250, 1, 50, 2048, 2, 2047]))
    slots.top_p.copy_(torch.tensor([1, 0.9, 0.5, 1, 0.99, 0.1]) if top_p < 1 else torch.ones(SLOTS))
    slots.seed.copy_(torch.tensor([0, 1, 2**32 - 1, 12345, 7, 2**31]))
    slots.greedy.fill_(greedy)
    return slots


def make_logits(seed: int) -> torch.Tensor:
    return normal(2 * SLOTS, 4 * 2048, seed=seed) * 3


def by_torch(slots: Slots, logits: torch.Tensor) -> torch.Tensor:
    """Return the tokens [n, K] that the torch implementation samples."""
    mixed = apply_guidance(logits.view(SLOTS, 2, 4, 2048), slots.guidance)
    tokens, _ = sample(
        mixed, temperature=slots.temperature, top_k=slots.top_k, top_p=slots.top_p, greedy=slots.greedy,
        seed=slots.seed, position=slots.position, max_top_k=2048, use_top_p=bool((slots.top_p < 1).any()),
    )  # fmt: skip
    return tokens[..., 0]


def tokens_at(slots: Slots, position: torch.Tensor) -> torch.Tensor:
    """Return the tokens [n, K] at positions [n]."""
    return slots.tokens.gather(2, position[:, None, None].expand(-1, 4, 1))[..., 0]


def arrived() -> torch.Tensor:
    return torch.zeros(SLOTS, dtype=torch.int32)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("top_p", [1, 0.5])
@pytest.mark.parametrize("greedy", [False, True])
def test_samples_the_same_tokens(seed: int, top_p: float, greedy: bool) -> None:
    slots, logits = make_slots(greedy, top_p), make_logits(seed)
    before, expected = slots.position.clone(), by_torch(slots, logits)
    sample_tokens(logits, slots, arrived())
    assert torch.equal(tokens_at(slots, before + 1), expected)
    assert torch.equal(slots.position, before + 1)
    assert not slots.nonfinite.any()
    assert int((slots.tokens != TO_GENERATE).sum()) == SLOTS * 4


def test_samples_the_same_tokens_if_the_vocabulary_is_not_a_power_of_two() -> None:
    slots, logits = make_slots(), make_logits(1)
    slots.top_k.clamp_(max=1000)
    mixed = apply_guidance(logits.view(SLOTS, 2, 8, 1024)[:, :, :4, :1000], slots.guidance)
    cut = logits.view(2 * SLOTS, 8, 1024)[:, :4, :1000].reshape(2 * SLOTS, -1)
    expected, _ = sample(
        mixed, temperature=slots.temperature, top_k=slots.top_k, top_p=slots.top_p, greedy=slots.greedy,
        seed=slots.seed, position=slots.position, max_top_k=1000, use_top_p=False,
    )  # fmt: skip
    before = slots.position.clone()
    sample_tokens(cut, slots, arrived())
    assert torch.equal(tokens_at(slots, before + 1), expected[..., 0])


def test_keeps_tokens_of_the_delay_pattern_and_of_prompts() -> None:
    slots, logits = make_slots(), make_logits(2)
    before, expected = slots.position.clone(), by_torch(slots, logits)
    slots.tokens[:, 1] = 2048
    slots.tokens[2, 0] = 17
    expected[:, 1], expected[2, 0] = 2048, 17
    sample_tokens(logits, slots, arrived())
    assert torch.equal(tokens_at(slots, before + 1), expected)


@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")  # from NumPy, in the interpreter
@pytest.mark.parametrize("nonfinite", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("everywhere", [True, False])
def test_flags_slots_with_nonfinite_logits(nonfinite: float, everywhere: bool) -> None:
    slots, logits = make_slots(), make_logits(3)
    slots.nonfinite[3] = True  # flagged earlier
    logits.view(SLOTS, 2, 4, 2048)[1, :, 2, slice(None) if everywhere else 5] = nonfinite
    before = slots.position.clone()
    sample_tokens(logits, slots, arrived())
    alone = not everywhere and nonfinite == float("-inf")  # minus infinity for one token is a valid mask, as in torch
    assert torch.equal(slots.nonfinite, torch.tensor([False, not alone, False, True, False, False]))
    assert ((tokens_at(slots, before + 1) >= 0) & (tokens_at(slots, before + 1) < 2048)).all()


def test_an_inactive_slot_is_left_unchanged() -> None:
    slots, logits, count = make_slots(), make_logits(4), arrived()
    slots.active[2] = False
    logits[4:6] = torch.nan
    before, tokens = slots.position.clone(), slots.tokens[2].clone()
    sample_tokens(logits, slots, count)
    assert torch.equal(slots.position - before, torch.tensor([1, 1, 0, 1, 1, 1]))
    assert torch.equal(slots.tokens[2], tokens)
    assert not slots.nonfinite.any()
    assert not count.any()


def test_keeps_and_samples_all_logits_equal_to_the_last_of_top_k() -> None:
    slots = make_slots()
    slots.top_k.fill_(3)
    logits = torch.where(torch.arange(4 * 2048) % 512 == 0, 5.0, 0.0).repeat(2 * SLOTS, 1)
    seen: set[int] = set()
    for seed in range(3):
        one = replace(slots, tokens=slots.tokens.clone(), position=slots.position.clone())
        one.seed.fill_(seed)
        sample_tokens(logits, one, arrived())
        seen |= {int(token) for token in tokens_at(one, slots.position + 1).flatten()}
    assert seen == {0, 512, 1024, 1536}
