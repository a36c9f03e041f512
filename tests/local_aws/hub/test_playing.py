"""The engine with the toy model, judged by ear: clips play what their prompts ask for, and planted faults are heard.

Prompts and seeds are fixed, and the toy model runs in fp32 on a CPU, so that a limit holds always or never; the limits
leave room for a CPU that rounds otherwise. PROVENANCE.md has what was measured.
"""

# pyright: reportPrivateUsage=false

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from local_aws.hub.tune.listening import Heard, listen
from local_aws.hub.tune.prompts import understand
from musicgen_serving.engine.generator import GenerationResult
from musicgen_serving.engine.model.codec import ChunkedDecode, Codec
from musicgen_serving.engine.model.config import DecoderConfig
from musicgen_serving.engine.model.text_encoder import TextEncoder
from musicgen_serving.engine.step import torch_step
from tests.local_aws.hub.player import FEW, PROMPTS, UNKNOWN, Player, share_right

RIGHT = 0.85  # of the clips at least play what is asked for, with guidance 3; measured 0.91 of TWICE
UNGUIDED = 0.75  # of the clips at most do so without guidance; measured 0.63
CONTINUED = 0.85  # of the clips at least go on in their key, mode and tempo, with their drums; measured 14 of 14
FAULTY = 0.5  # and at most with any other planted fault
TWICE = PROMPTS * 2  # as many clips as it takes to tell RIGHT from UNGUIDED


@pytest.fixture(scope="module")
def played(player: Player) -> GenerationResult:
    """What the sound engine plays for TWICE."""
    return player.generate(TWICE)


@pytest.fixture(scope="module")
def heard(player: Player, played: GenerationResult) -> list[Heard]:
    """What is heard of that."""
    return player.hear(played)


def test_clips_play_what_the_prompt_asks_for_and_not_what_another_does(heard: list[Heard]) -> None:
    assert share_right(heard, TWICE) >= RIGHT
    assert share_right(heard, TWICE[1:] + TWICE[:1]) == 0


def test_upper_case_changes_nothing(player: Player, heard: list[Heard]) -> None:
    loud = player.play([prompt.upper() for prompt in FEW])
    for one, other in zip(heard, loud, strict=False):
        np.testing.assert_array_equal(one.pitches, other.pitches)


def test_unknown_words_and_characters_change_nothing_that_is_asked_for(player: Player) -> None:
    assert share_right(player.play(UNKNOWN), UNKNOWN) >= RIGHT


def test_prompts_without_a_known_word_play_some_tune(player: Player) -> None:
    heard = player.play(["", "♪ 東京", "kwyjibo " * 20, "— … !"])
    assert all(clip.clarity.clear for clip in heard), heard


def test_seeds_vary_the_melody_and_repeat_it(player: Player, heard: list[Heard]) -> None:
    melodies = [clip.pitches.tolist() for clip in player.play(PROMPTS[:1] * 4)]
    assert len({tuple(melody) for melody in melodies}) == 4
    assert melodies[0] == heard[0].pitches.tolist()


LONG, SECTIONS = FEW[1:4], [FEW[1]] * 3


@pytest.fixture(scope="module")
def long_clips(player: Player) -> tuple[list[NDArray[np.float32]], int]:
    """What the sound engine plays for LONG, and as one piece for SECTIONS."""
    return player.play_long(LONG, SECTIONS)


def test_thirty_seconds_follow_the_prompt_to_the_end(long_clips: tuple[list[NDArray[np.float32]], int]) -> None:
    clips, rate = long_clips
    heard = [listen(samples[20 * rate :], rate) for samples in clips[:-1]]
    assert share_right(heard, LONG) == 1
    for clip in heard:
        assert len(set(clip.pitches.tolist())) >= 2  # not one note for ever


def test_a_long_piece_in_sections_is_one_tune_across_its_windows(
    long_clips: tuple[list[NDArray[np.float32]], int],
) -> None:
    """Of 60 s, in five windows, of which four hear the last 12 s."""
    clips, rate = long_clips
    heard = [listen(part, rate) for part in np.split(clips[-1], len(SECTIONS))]
    asked = understand(SECTIONS[0])
    assert all(clip.clarity.clear and clip.tune.tempo == asked.tempo for clip in heard), heard
    assert {clip.tune.mode for clip in heard} == {asked.mode}


def test_what_continues_a_clip_without_a_text_stays_in_its_key_mode_and_tempo(
    player: Player, played: GenerationResult, heard: list[Heard]
) -> None:
    """And not in those of another clip: the excerpt alone says which."""
    codes = replace(played, codes=played.codes[: len(PROMPTS)])
    pairs = list(zip(heard, player.play_on(codes), strict=False))
    clear = [pair for pair in pairs if pair[0].clarity.clear]
    same = [after.clarity.clear and after.tune == one.tune for one, after in clear]
    assert len(clear) >= 12 and sum(same) / len(same) >= CONTINUED, pairs
    others = [after.tune == clear[place - 1][0].tune for place, (_, after) in enumerate(clear)]
    assert sum(others) / len(others) <= 0.25, pairs


def test_hears_that_guidance_is_missing(player: Player, monkeypatch: pytest.MonkeyPatch) -> None:
    def conditional_only(logits: torch.Tensor, _scale: torch.Tensor) -> torch.Tensor:
        return logits[:, 0]

    monkeypatch.setattr(torch_step, "apply_guidance", conditional_only)
    assert share_right(player.play(TWICE), TWICE) <= UNGUIDED


@pytest.mark.parametrize("order", [[1, 0, 2, 3], [0, 1, 3, 2], [3, 1, 2, 0]])
def test_hears_that_codebooks_are_swapped(player: Player, monkeypatch: pytest.MonkeyPatch, order: list[int]) -> None:
    decode = Codec.decode_part

    def swapped(self: Codec, clip: ChunkedDecode, codes: torch.Tensor, *, last: bool) -> Iterator[torch.Tensor]:
        return decode(self, clip, codes[order], last=last)

    monkeypatch.setattr(Codec, "decode_part", swapped)
    assert share_right(player.play(FEW), FEW) <= FAULTY


@pytest.mark.parametrize("late", [-1, 1])
def test_hears_that_codebooks_are_read_a_frame_early_or_late(
    player: Player, monkeypatch: pytest.MonkeyPatch, late: int
) -> None:
    decode = Codec.decode_part

    def shifted(self: Codec, clip: ChunkedDecode, codes: torch.Tensor, *, last: bool) -> Iterator[torch.Tensor]:
        return decode(self, clip, torch.cat([codes[:1], codes[1:].roll(late, -1)]), last=last)

    monkeypatch.setattr(Codec, "decode_part", shifted)
    assert share_right(player.play(FEW), FEW) <= FAULTY


@pytest.mark.parametrize("delays", [(0, 0, 0, 0), (0, 0, 1, 2), (0, 1, 2, 4)])
def test_hears_that_the_delay_pattern_is_wrong(
    player: Player, monkeypatch: pytest.MonkeyPatch, delays: tuple[int, ...]
) -> None:
    monkeypatch.setattr(DecoderConfig, "delays", delays)
    assert share_right(player.play(FEW), FEW) <= FAULTY


def test_hears_that_padding_is_not_masked(player: Player, monkeypatch: pytest.MonkeyPatch) -> None:
    encode = TextEncoder._encode_one

    def padded(self: TextEncoder, tokens: list[int]) -> torch.Tensor:
        return encode(self, tokens + [0] * (32 - len(tokens)))

    monkeypatch.setattr(TextEncoder, "_encode_one", padded)
    assert share_right(player.play(FEW), FEW) <= FAULTY


def test_hears_that_a_clip_gets_another_clips_text(player: Player, monkeypatch: pytest.MonkeyPatch) -> None:
    first: list[torch.Tensor] = []
    encode = TextEncoder._encode_one

    def stale(self: TextEncoder, tokens: list[int]) -> torch.Tensor:
        first.append(encode(self, tokens))
        return first[0]

    monkeypatch.setattr(TextEncoder, "_encode_one", stale)
    assert share_right(player.play(FEW), FEW) <= FAULTY
