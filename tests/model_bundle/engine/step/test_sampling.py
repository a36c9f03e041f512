"""Test that sampled tokens follow the softmax and depend only on logits, parameters, seed and position."""

# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false
# scipy ships no types, and some of torch's are open.

import pytest
import torch
from scipy import stats

from musicgen_serving.engine.step.sampling import apply_guidance, hashed_uniform, sample

DRAWS, VOCABULARY = 40_000, 64


def sample_tokens(
    logits: torch.Tensor, *, temperature: float = 1.0, top_k: int = VOCABULARY, top_p: float = 1.0
) -> torch.Tensor:
    """Return tokens [DRAWS, K], sampled from logits [K, V] at as many positions."""
    tokens, finite = sample(
        logits.expand(DRAWS, -1, -1), temperature=torch.full((DRAWS,), temperature), top_k=torch.full((DRAWS,), top_k),
        top_p=torch.full((DRAWS,), top_p), greedy=torch.zeros(DRAWS, dtype=torch.bool), seed=torch.full((DRAWS,), 11),
        position=torch.arange(DRAWS), max_top_k=top_k, use_top_p=top_p < 1,
    )  # fmt: skip
    assert finite.all()
    return tokens[..., 0]


def make_logits() -> torch.Tensor:
    return torch.randn(4, VOCABULARY, generator=torch.Generator().manual_seed(3)) * 2


def p_value(tokens: torch.Tensor, probability: torch.Tensor) -> float:
    """Return the p-value of a chi-square test of tokens [DRAWS] against probability [V]; rare tokens are pooled."""
    counts = torch.bincount(tokens, minlength=VOCABULARY).double()
    expected = probability.double() * DRAWS
    rare = expected < 5
    observed = torch.cat([counts[~rare], counts[rare].sum()[None]])
    hoped = torch.cat([expected[~rare], expected[rare].sum()[None]])
    keep = hoped > 0
    result = stats.chisquare(observed[keep].numpy(), (hoped[keep] * observed[keep].sum() / hoped[keep].sum()).numpy())
    return float(result.pvalue)


@pytest.mark.parametrize(("temperature", "top_k"), [(1.0, 64), (1.0, 20), (0.7, 64), (1.5, 10)])
def test_tokens_follow_the_softmax_over_top_k(temperature: float, top_k: int) -> None:
    logits = make_logits()
    tokens = sample_tokens(logits, temperature=temperature, top_k=top_k)
    for codebook in range(4):
        scaled = logits[codebook] / temperature
        scaled = scaled.masked_fill(scaled < scaled.topk(top_k).values[-1], float("-inf"))
        probability = scaled.softmax(-1)
        assert (probability[tokens[:, codebook]] > 0).all()
        assert p_value(tokens[:, codebook], probability) > 1e-4


def test_the_test_detects_a_wrong_temperature() -> None:
    logits = make_logits()
    assert p_value(sample_tokens(logits, temperature=1.1)[:, 0], logits[0].softmax(-1)) < 1e-4


def test_top_p_keeps_the_smallest_set_of_that_probability() -> None:
    logits = make_logits()
    tokens = sample_tokens(logits, top_p=0.8)
    for codebook in range(4):
        probability, order = logits[codebook].softmax(-1).sort(descending=True)
        count = int((probability.cumsum(-1) < 0.8).sum()) + 1
        kept = torch.zeros(VOCABULARY).scatter(0, order[:count], probability[:count])
        assert set(tokens[:, codebook].tolist()) <= set(order[:count].tolist())
        assert p_value(tokens[:, codebook], kept / kept.sum()) > 1e-4


def test_greedy_ignores_the_other_parameters() -> None:
    logits = make_logits()[None]
    one = torch.ones(1)
    tokens, _ = sample(
        logits, temperature=one * 5, top_k=torch.tensor([64]), top_p=one, greedy=torch.tensor([True]),
        seed=torch.tensor([1]), position=torch.tensor([0]), max_top_k=64, use_top_p=False,
    )  # fmt: skip
    assert torch.equal(tokens[..., 0], logits.argmax(-1))


def test_a_token_does_not_depend_on_the_rest_of_the_batch() -> None:
    generator = torch.Generator().manual_seed(4)
    logits = torch.randn(3, 4, VOCABULARY, generator=generator)
    fields = {
        "temperature": torch.tensor([1.0, 0.5, 2.0]), "top_k": torch.tensor([5, 64, 20]),
        "top_p": torch.tensor([1.0, 0.5, 0.9]), "greedy": torch.tensor([False, False, True]),
        "seed": torch.tensor([7, 8, 9]), "position": torch.tensor([3, 100, 50]),
    }  # fmt: skip
    together, _ = sample(logits, **fields, max_top_k=64, use_top_p=True)
    for slot in range(3):
        alone = {name: field[slot : slot + 1] for name, field in fields.items()}
        max_top_k, use_top_p = int(alone["top_k"]), bool(alone["top_p"] < 1)
        tokens, _ = sample(logits[slot : slot + 1], **alone, max_top_k=max_top_k, use_top_p=use_top_p)
        assert torch.equal(tokens[0], together[slot])


def test_the_hash_is_uniform_and_never_0_or_1() -> None:
    values = hashed_uniform(torch.arange(50), torch.arange(50), torch.arange(4096).view(1, 4, 1024)).flatten()
    assert 0 < float(values.min()) < float(values.max()) < 1
    assert stats.kstest(values.numpy()[::7], "uniform").pvalue > 1e-4
    assert len(values.unique()) > 0.97 * len(values)  # 204,800 values of 23 bits


def test_neighbouring_seeds_and_positions_give_uncorrelated_values() -> None:
    index = torch.arange(8192).view(1, 4, 2048)
    base = hashed_uniform(torch.tensor([7]), torch.tensor([3]), index).flatten()
    for seed, position in ((8, 3), (7, 4), (2**32 - 1, 3)):
        other = hashed_uniform(torch.tensor([seed]), torch.tensor([position]), index).flatten()
        assert abs(float(torch.corrcoef(torch.stack([base, other]))[0, 1])) < 0.05


def test_guidance_of_1_returns_the_conditional_logits_exactly() -> None:
    logits = torch.randn(2, 2, 4, 8, generator=torch.Generator().manual_seed(5))
    mixed = apply_guidance(logits, torch.tensor([1.0, 3.0]))
    assert torch.equal(mixed[0], logits[0, 0])
    torch.testing.assert_close(mixed[1], logits[1, 1] + 3 * (logits[1, 0] - logits[1, 1]))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_flags_slots_with_nonfinite_logits(value: float) -> None:
    logits = torch.zeros((2, 4, VOCABULARY))
    logits[1, 2] = value
    two = torch.ones(2)
    tokens, finite = sample(
        logits, temperature=two, top_k=torch.tensor([5, 5]), top_p=two, greedy=two.bool(), seed=two.long(),
        position=two.long(), max_top_k=5, use_top_p=False,
    )  # fmt: skip
    assert finite.tolist() == [True, False]
    assert ((tokens >= 0) & (tokens < VOCABULARY)).all()
