"""The committed toy melody model is what its script makes, in Meta's melody architecture, and of the stated hash."""

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
from transformers import AutoTokenizer, MusicgenMelodyForConditionalGeneration

from local_aws.hub.melody import model as melody_model
from local_aws.hub.melody import train
from local_aws.hub.melody.humming import draw_melody, hum
from local_aws.hub.melody.listening import Note, lateness, notes_right, pitch_classes
from local_aws.hub.melody.music import CHROMA_FRAMES, NOTES, codes_of, draw_chroma
from local_aws.hub.tune.music import FRAME, SAMPLING_RATE
from musicgen_serving.engine.model.chroma import Chroma
from musicgen_serving.engine.model.config import decoder_config, read_config
from tests.model_bundle.helpers.reference_melody import ConditionedMusicgenMelody

PROVENANCE = melody_model.TRAINED.parent / "PROVENANCE.md"
FIRST_LOSS = 4.9326


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("melody")
    melody_model.write_model(path)
    return path


@pytest.fixture(scope="module")
def model(folder: Path) -> MusicgenMelodyForConditionalGeneration:
    return ConditionedMusicgenMelody.from_pretrained(folder, local_files_only=True).eval()


def decode(model: MusicgenMelodyForConditionalGeneration, codes: np.ndarray) -> np.ndarray:
    """Return the samples [640 * T] of codes [4, T]."""
    with torch.inference_mode():
        return model.audio_encoder.decode(torch.from_numpy(codes)[None, None], [None]).audio_values[0, 0].numpy()


def test_weights_are_those_whose_provenance_is_stated() -> None:
    text = PROVENANCE.read_text(encoding="utf-8")
    (stated,) = re.findall(r"`([0-9a-f]{64})`", text)
    assert hashlib.sha256(melody_model.TRAINED.read_bytes()).hexdigest() == stated
    assert f"--seed {train.SEED} --steps {train.STEPS}" in text


def test_committed_weights_are_in_float16_below_1_megabyte_and_all_but_the_codec(folder: Path) -> None:
    assert melody_model.TRAINED.stat().st_size <= 1_000_000
    trained, written = load_file(melody_model.TRAINED), load_file(folder / "model.safetensors")
    assert {tensor.dtype for tensor in trained.values()} == {torch.float16}
    assert set(trained) == {name for name in written if not name.startswith("audio_encoder.")}
    assert all(torch.equal(written[name], tensor) for name, tensor in trained.items())


def test_training_repeats_itself_and_learns(tmp_path: Path) -> None:
    losses = [train.train(train.new_model(tmp_path, seed=0), seed=0, steps=4) for _ in range(2)]
    assert losses[0] == losses[1]
    assert losses[0][0] == pytest.approx(FIRST_LOSS, abs=0.01)  # rounding differs between machines
    assert losses[0][3] < losses[0][0]


def test_any_text_has_one_token(folder: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    for text in ("", "80s pop track", "♪ 東京 — a, b!"):
        assert tokenizer.convert_ids_to_tokens(tokenizer(text).input_ids) == ["</s>"]


def test_listener_hears_every_note_at_its_time(model: MusicgenMelodyForConditionalGeneration) -> None:
    classes = np.repeat(np.arange(12), 4)
    heard = pitch_classes(decode(model, codes_of(classes, 300)), SAMPLING_RATE)
    melody = [Note(0, 3.5 * 0.128), *(Note(pitch, 4 * 0.128) for pitch in range(1, 12))]
    assert notes_right(heard, melody) == [True] * 12
    assert notes_right(heard[:280], melody) == [True] * 11  # too short to judge the last note
    assert notes_right(np.roll(heard, 25), melody).count(True) <= 1
    assert [lateness(np.roll(heard, late), melody) for late in (-8, 0, 8)] == pytest.approx([-0.16, 0, 0.16], abs=0.011)
    changes = 1 + np.flatnonzero(heard[1:] != heard[:-1])
    np.testing.assert_allclose(changes * 0.02, (np.arange(1, 12) * 4 - 0.5) * 0.128, atol=0.011)


def test_listener_hears_no_note_in_silence_and_refuses_another_rate() -> None:
    assert set(pitch_classes(np.zeros(SAMPLING_RATE), SAMPLING_RATE)) == {-1}
    with pytest.raises(ValueError, match="sampling rate must be 32000, got 44100"):
        pitch_classes(np.zeros(FRAME), 44_100)


def test_chroma_of_what_is_played_shows_the_notes_again(
    folder: Path, model: MusicgenMelodyForConditionalGeneration
) -> None:
    """The toy's own whistle is a melody, too: its twelve notes are in tune enough.

    A note begins louder than the one before ends, so that the chroma may show it a frame early.
    """
    classes = np.repeat(np.arange(12), 4)
    chroma = Chroma(decoder_config(read_config(folder)), SAMPLING_RATE)
    shown = chroma.features(decode(model, codes_of(classes, 307))[None]).argmax(1).numpy()
    np.testing.assert_array_equal(shown[:48].reshape(12, 4)[:, :3], classes.reshape(12, 4)[:, :3])


def test_drawn_melodies_fill_the_prefix_with_all_pitch_classes() -> None:
    drawn = draw_chroma(random.Random(0))
    assert drawn.shape == (CHROMA_FRAMES,) and set(drawn.tolist()) == set(range(len(NOTES)))


def test_transformers_generates_a_clip_that_follows_the_melody(
    folder: Path, model: MusicgenMelodyForConditionalGeneration
) -> None:
    melody = draw_melody(0)
    features = Chroma(decoder_config(read_config(folder)), SAMPLING_RATE).features(hum(melody, 0))
    torch.manual_seed(0)
    inputs = {"input_ids": torch.tensor([[1]]), "attention_mask": torch.tensor([[1]])}
    clip = model.generate(**inputs, input_features=features[None], max_new_tokens=253, guidance_scale=3.0)
    right = notes_right(pitch_classes(clip[0, 0].numpy(), SAMPLING_RATE), melody)
    assert sum(right) / len(right) >= 0.9
