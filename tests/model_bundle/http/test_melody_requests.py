"""Requests with a melody, from their bodies to codes, and their refusal by models that follow none."""

import base64
import io
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

import inference
from local_aws.hub.tiny_model import make_tiny_musicgen
from musicgen_serving.audio_input import AudioInput, AudioSource
from musicgen_serving.audio_upload import AudioStore
from musicgen_serving.engine.errors import MelodyUnsupportedError
from musicgen_serving.engine.generator import Capacity, Generator
from musicgen_serving.engine.loading import WeightFormat
from musicgen_serving.engine.sampling_params import ClipSpec, SamplingParams, Section
from musicgen_serving.http.errors import InvalidRequestError
from musicgen_serving.http.negotiation import RequestContext, parse_accept
from musicgen_serving.http.request import parse_request
from musicgen_serving.http.tracking import RequestTracker
from musicgen_serving.model_loading import Model, read_checkpoint
from tests.model_bundle.helpers.memory_log import MemoryLog

GREEDY = {"max_new_tokens": 33, "do_sample": False}


def tune(*hertz: float, seconds: float = 0.6) -> bytes:
    """Return a WAV file of one tone after another."""
    time = np.arange(round(32_000 * seconds)) / 32_000
    buffer = io.BytesIO()
    soundfile.write(buffer, np.concatenate([np.sin(2 * np.pi * one * time) for one in hertz]), 32_000, format="WAV")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def melody_generator(tmp_path_factory: pytest.TempPathFactory, one_thread: None) -> Iterator[Generator]:
    folder = tmp_path_factory.mktemp("melody")
    make_tiny_musicgen(folder, melody=True)
    generator = Generator(
        folder, weight_format=WeightFormat(dtype="float32"), capacity=Capacity(slots=2), log=MemoryLog().log
    )
    yield generator
    generator.close()


@pytest.fixture
def model(staged_musicgen: Path, melody_generator: Generator, s3: Any, memory_log: Any) -> Iterator[Model]:
    tracker = RequestTracker(s3, "out", memory_log.log)
    audio_input = AudioInput(AudioSource.of_buckets(s3, "uploads", ("out",)), 32_000, melody_generator.channels)
    checkpoint = replace(read_checkpoint(staged_musicgen), model_id="facebook/musicgen-melody")
    yield Model(checkpoint, melody_generator, AudioStore(s3, ("out",)), tracker, audio_input)
    tracker.stop()


def tokens(model: Model, body: dict[str, Any]) -> Any:
    """Return the tokens of the only clip of a request."""
    sent = {**body, "return_tokens": True, "generation_params": GREEDY}
    request = inference.input_fn(json.dumps(sent).encode(), "application/json")
    context = RequestContext(parse_accept(""), "id-1")
    return json.loads(inference.output_fn(inference.predict_fn(request, model, context), ""))["tokens"][0]


def test_clips_follow_the_melody_of_the_excerpt_that_a_request_names(model: Model, s3: Any) -> None:
    s3.objects["uploads", "in/tune.wav"] = (tune(261.63, 329.63, 392.0), "audio/wav")
    stored = {"audio": {"s3": "s3://uploads/in/tune.wav"}}
    inline = {"audio": {"base64": base64.b64encode(tune(329.63, 392.0)).decode()}}
    bodies: dict[str, dict[str, Any]] = {
        "none": {}, "whole": {"melody": stored}, "end": {"melody": {**stored, "start": 0.6}},
        "inline": {"melody": inline},
    }  # fmt: skip
    of = {name: tokens(model, {"texts": ["piano"], **body}) for name, body in bodies.items()}
    assert of["end"] == of["inline"]
    assert len({str(one) for one in of.values()}) == 3
    alone = tokens(model, {"unconditional_clips": 1, "melody": stored})
    assert alone not in of.values()


def test_a_melody_goes_on_from_window_to_window(melody_generator: Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    """And begins again at its end: the second window starts one second in, and the melody has 1.5."""
    chroma, starts = melody_generator.codec_worker.chroma, list[int]()
    assert chroma is not None
    features = chroma.features

    def noting(samples: Any, start: int = 0) -> Any:
        starts.append(start)
        return features(samples, start)

    monkeypatch.setattr(chroma, "features", noting)
    samples = np.sin(np.arange(48_000) / 20, dtype=np.float32)[None]
    sections = (Section("a", 650), Section("b", 50), Section("c", 50))
    params = SamplingParams(do_sample=False)
    clips = [ClipSpec(None, seed, params, sections=sections, melody=samples) for seed in (0, 1)]
    first, second = melody_generator.generate(clips).codes
    assert starts == [0, 32_000, 64_000 % 48_000]  # of both clips, computed once
    assert np.array_equal(first, second) and first.shape == (4, 750)


def test_other_models_refuse_a_melody_before_they_read_it_and_say_which_follow_one(
    model: Model, generator: Generator, s3: Any
) -> None:
    other = replace(
        model, generator=generator, checkpoint=replace(model.checkpoint, model_id="facebook/musicgen-large")
    )
    with pytest.raises(MelodyUnsupportedError) as caught:
        tokens(other, {"texts": ["a"], "melody": {"audio": {"s3": "s3://uploads/in/missing.wav"}}})
    assert str(caught.value) == (
        "melody must be sent to a melody model (facebook/musicgen-melody, facebook/musicgen-melody-large, "
        "facebook/musicgen-stereo-melody or facebook/musicgen-stereo-melody-large), "
        "this endpoint serves facebook/musicgen-large"
    )


@pytest.mark.parametrize(
    ("melody", "sentence"),
    [
        ("x", 'melody must be an object, got "x"'),
        ({}, 'melody.audio must be an object with "s3" or "base64", got nothing'),
        ({"audio": {"base64": "UklG"}, "return_excerpt": True}, "melody must have no field but audio, start, end, "
            'got "return_excerpt"'),
        ({"audio": {"base64": "UklG"}, "end": 120.5}, "melody.end must be after start, by at most 120 s, "
            "got 0.0 to 120.5"),
    ],
)  # fmt: skip
def test_refuses_what_is_no_melody(melody: Any, sentence: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        parse_request(json.dumps({"texts": ["a"], "melody": melody}).encode(), "application/json")
    assert str(caught.value) == sentence
