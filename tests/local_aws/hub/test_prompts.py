"""What the toy model understands, and that its tokenizer reads a prompt as `understand` does, in any case."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# transformers ships types that strict mode cannot follow.

import random
from pathlib import Path

import pytest
from transformers import AutoTokenizer, MusicgenProcessor

from local_aws.hub import tune
from local_aws.hub.tune.music import Tune, draw_tune
from local_aws.hub.tune.prompts import Asked, draw_prompt, understand
from local_aws.walkthrough.__main__ import PROMPT


@pytest.mark.parametrize(
    ("prompt", "asked"),
    [
        (PROMPT, Asked("D", "minor", "fast", True)),
        ("Happy, slow (in G)!", Asked("G", "major", "slow", False)),
        ("a walking bass", Asked(None, None, "medium", False)),
        ("happy and sad, in g or d", Asked(None, None, None, False)),
        ("xylophonic kwyjibo", Asked(None, None, None, False)),
        ("", Asked(None, None, None, False)),
        ("D-minor, ♪ 東京 ½ “naïve”", Asked("D", "minor", None, False)),
    ],
)
def test_understands_words_in_any_case_and_ignores_unknown_and_contradictory_ones(prompt: str, asked: Asked) -> None:
    assert understand(prompt) == asked
    assert understand(prompt.upper()) == asked


def test_drawn_prompts_name_only_what_the_tune_is_and_always_its_drums() -> None:
    rng = random.Random(0)
    for _ in range(500):
        wanted: Tune = draw_tune(rng)
        asked = understand(draw_prompt(wanted, rng))
        assert asked.key in (None, wanted.key) and asked.mode in (None, wanted.mode)
        assert asked.tempo in (None, wanted.tempo) and asked.drums == wanted.drums


@pytest.mark.parametrize("which", ["toy", "random"])
def test_upper_case_prompts_have_the_same_tokens_after_loading(which: str, tiny_musicgen: Path) -> None:
    folder = tune.MODEL if which == "toy" else tiny_musicgen
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    assert tokenizer("CALM Piano WITH Drums").input_ids == tokenizer("calm piano with drums").input_ids
    assert tokenizer.unk_token_id not in tokenizer("CALM Piano WITH Drums").input_ids
    assert tokenizer.convert_ids_to_tokens(tokenizer("Fast").input_ids) == ["▁fast", "</s>"]
    processor = MusicgenProcessor.from_pretrained(folder, local_files_only=True)
    assert set(processor(text=["Fast", "calm piano"], padding=True)) == {"input_ids", "attention_mask"}


@pytest.mark.parametrize(
    ("prompt", "tokens"),
    [
        ("Gwendolyn's D-minor dancer", ["▁d", "▁minor"]),  # neither "g" nor "dance"
        ("♪ 東京 fast!", ["▁fast"]),
        ("d♪ beats,beat", ["▁d", "▁beats", "▁beat"]),
        ("  ,. — ", []),
        ("", []),
        ("kwyjibo " * 500, []),
    ],
)
def test_tokenizer_drops_all_but_known_words(prompt: str, tokens: list[str]) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tune.MODEL, local_files_only=True)
    assert tokenizer.convert_ids_to_tokens(tokenizer(prompt).input_ids) == [*tokens, "</s>"]
