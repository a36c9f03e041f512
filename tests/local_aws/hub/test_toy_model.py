"""The committed toy model is what the repository's script makes, in MusicGen's architecture, and of the stated hash."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportArgumentType=false, reportCallIssue=false, reportOptionalMemberAccess=false
# transformers and safetensors ship types that strict mode cannot follow.

import hashlib
import random
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoTokenizer, MusicgenForConditionalGeneration

from local_aws.hub import tune
from local_aws.hub.tune import train
from local_aws.hub.tune.listening import listen
from local_aws.hub.tune.music import FRAME, KEYS, MODES, NOTE_FRAMES, SAMPLING_RATE, Tune, codebook_entries, draw_codes
from local_aws.hub.tune.prompts import Asked

WEIGHTS = tune.MODEL / "model.safetensors"
FIRST_LOSS = 5.1110
PROVENANCE = tune.MODEL.parent / "PROVENANCE.md"


@pytest.fixture(scope="module")
def model() -> MusicgenForConditionalGeneration:
    loaded = MusicgenForConditionalGeneration.from_pretrained(tune.MODEL, local_files_only=True)
    return loaded.eval()


def decode(model: MusicgenForConditionalGeneration, codes: np.ndarray) -> np.ndarray:
    """Return the samples [640 * T] of codes [4, T]."""
    with torch.inference_mode():
        return model.audio_encoder.decode(torch.from_numpy(codes)[None, None], [None]).audio_values[0, 0].numpy()


def test_weights_are_those_whose_provenance_is_stated() -> None:
    (stated,) = re.findall(r"`([0-9a-f]{64})`", PROVENANCE.read_text(encoding="utf-8"))
    assert hashlib.sha256(WEIGHTS.read_bytes()).hexdigest() == stated


def test_weights_are_in_float16_and_below_2_megabytes() -> None:
    assert WEIGHTS.stat().st_size <= 2_000_000
    assert {tensor.dtype for tensor in load_file(WEIGHTS).values()} == {torch.float16}


def test_provenance_names_the_scripts_seed_and_steps() -> None:
    text = PROVENANCE.read_text(encoding="utf-8")
    assert f"--seed {train.SEED} --steps {train.STEPS}" in text


def test_every_other_file_is_what_the_script_writes(tmp_path: Path) -> None:
    train.save(train.new_model(tmp_path, train.SEED), tmp_path)
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {path.name for path in tune.MODEL.iterdir()}
    for name in names - {"model.safetensors"}:
        assert (tune.MODEL / name).read_bytes() == (tmp_path / name).read_bytes(), name


def test_constructed_codec_is_bit_exact(tmp_path: Path) -> None:
    train.save(train.new_model(tmp_path, seed=1), tmp_path)  # of another seed, as nothing in it is drawn
    made, committed = load_file(tmp_path / "model.safetensors"), load_file(WEIGHTS)
    codec = [name for name in committed if name.startswith("audio_encoder.")]
    assert len(codec) > 50
    assert [name for name in codec if not torch.equal(made[name], committed[name])] == []


def test_training_repeats_itself_and_learns(tmp_path: Path) -> None:
    losses: list[list[float]] = []
    for _ in range(2):
        model = train.new_model(tmp_path, seed=0)
        tokenizer = AutoTokenizer.from_pretrained(tmp_path, local_files_only=True)
        losses.append(train.train(model, tokenizer, seed=0, steps=4))
    assert losses[0] == losses[1]
    assert losses[0][0] == pytest.approx(FIRST_LOSS, abs=0.01)  # rounding differs between machines
    assert losses[0][2] < losses[0][0]  # batches of the same kind


def test_codec_is_the_exact_sum_of_sines_within_a_steady_frame(model: MusicgenForConditionalGeneration) -> None:
    entries = codebook_entries()
    for codebook, of_codebook in enumerate(entries):
        for code, tones in enumerate(of_codebook):
            codes = np.zeros((4, 5), np.int64)
            codes[codebook] = code
            middle = decode(model, codes)[2 * FRAME : 3 * FRAME]
            at = np.arange(2 * FRAME, 3 * FRAME) / SAMPLING_RATE
            expected = sum((level * np.sin(2 * np.pi * tone * at) for tone, level in tones.items()), np.zeros(FRAME))
            np.testing.assert_allclose(middle, expected, atol=0.01)


@pytest.mark.parametrize("drums", [False, True])
@pytest.mark.parametrize("tempo", NOTE_FRAMES)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("key", KEYS)
def test_listener_hears_what_was_written(
    key: str, mode: str, tempo: str, drums: bool, model: MusicgenForConditionalGeneration
) -> None:
    wanted = Tune(key, mode, tempo, drums)
    heard = listen(decode(model, draw_codes(wanted, 250, random.Random(1))), SAMPLING_RATE)
    assert heard.tune == wanted and heard.clarity.clear
    assert heard.matches(Asked(key, mode, tempo, drums))
    assert not heard.matches(Asked(key, mode, tempo, not drums))
    assert heard.onsets.tolist() == list(range(0, 250, NOTE_FRAMES[tempo]))


@pytest.mark.parametrize("late", [-1, 1])
@pytest.mark.parametrize("codebook", [0, 3])
def test_listener_hears_a_codebook_that_is_a_frame_off(
    codebook: int, late: int, model: MusicgenForConditionalGeneration
) -> None:
    codes = draw_codes(Tune("G", "minor", "fast", drums=True), 250, random.Random(1))
    codes[codebook] = np.roll(codes[codebook], late)
    assert not listen(decode(model, codes), SAMPLING_RATE).clarity.clear


def test_listener_hears_no_tune_in_noise_and_silence() -> None:
    for samples in (np.zeros(SAMPLING_RATE), np.random.default_rng(0).normal(0, 0.2, SAMPLING_RATE)):
        assert not listen(samples, SAMPLING_RATE).clarity.clear


def test_listener_refuses_other_audio() -> None:
    with pytest.raises(ValueError, match="sampling rate must be 32000, got 44100"):
        listen(np.zeros(44_100), 44_100)
    with pytest.raises(ValueError, match=r"one channel of at least 640, got shape \(1, 32000\)"):
        listen(np.zeros((1, 32_000)), SAMPLING_RATE)


def test_transformers_generates_a_tune_that_follows_the_prompt(model: MusicgenForConditionalGeneration) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tune.MODEL, local_files_only=True)
    asked = {"happy fast tune in g": ("G", "major", "fast"), "sad tune in d at a medium pace": ("D", "minor", "medium")}
    torch.manual_seed(0)
    inputs = tokenizer(list(asked), padding=True, return_tensors="pt")
    clips = model.generate(**inputs, max_new_tokens=153)
    for clip, wanted in zip(clips[:, 0].numpy(), asked.values(), strict=True):
        heard = listen(clip, SAMPLING_RATE)
        assert (heard.tune.key, heard.tune.mode, heard.tune.tempo) == wanted and heard.clarity.clear
