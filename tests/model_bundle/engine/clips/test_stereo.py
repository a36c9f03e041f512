"""A stereo checkpoint as it is published, in float16, against transformers: codes and both channels of the audio."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportAttributeAccessIssue=false, reportCallIssue=false, reportGeneralTypeIssues=false
# pyright: reportOptionalMemberAccess=false, reportArgumentType=false, reportUnknownLambdaType=false
# transformers ships types that strict mode cannot follow.

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from transformers import AutoProcessor, MusicgenForConditionalGeneration

import inference
from musicgen_serving.audio_download import AudioSource
from musicgen_serving.audio_input import AudioInput
from musicgen_serving.audio_upload import AudioStore
from musicgen_serving.engine.generator import Capacity, Generator
from musicgen_serving.engine.loading import WeightFormat
from musicgen_serving.http.negotiation import RequestContext, parse_accept
from musicgen_serving.http.tracking import RequestTracker
from musicgen_serving.model_loading import Model, read_checkpoint
from tests.model_bundle.helpers.memory_log import MemoryLog

TEXTS = ["80s pop track with bassy drums and synth", "a tune"]
FRAMES = 40


@pytest.fixture(scope="module")
def expected(tiny_stereo: Path, one_thread: None) -> tuple[list[torch.Tensor], torch.Tensor]:
    """The codes [8, frames] and the samples [texts, 2, 640 * frames] of transformers' greedy generate, in float32."""
    model = MusicgenForConditionalGeneration.from_pretrained(
        tiny_stereo, dtype=torch.float32, attn_implementation="eager"
    ).eval()
    inputs = AutoProcessor.from_pretrained(tiny_stereo)(text=TEXTS, padding=True, return_tensors="pt")
    sides: list[torch.Tensor] = []
    decode = model.audio_encoder.decode
    model.audio_encoder.decode = lambda codes, **rest: sides.append(codes[0]) or decode(codes, **rest)
    with torch.inference_mode():
        audio = model.generate(**inputs, do_sample=False, guidance_scale=3.0, max_new_tokens=FRAMES + 3)
    left, right = sides  # [texts, 4, frames] each
    return [torch.stack(pair, dim=1).flatten(0, 1) for pair in zip(left, right, strict=True)], audio


@pytest.fixture(scope="module")
def stereo_generator(staged_stereo: Path, one_thread: None) -> Iterator[Generator]:
    weight_format = WeightFormat(dtype="float32")
    loaded = Generator(staged_stereo, weight_format=weight_format, capacity=Capacity(), log=MemoryLog().log)
    yield loaded
    loaded.close()


def test_request_returns_transformers_codes_and_a_wav_with_both_of_its_channels(
    staged_stereo: Path, stereo_generator: Generator, expected: Any, s3: Any, memory_log: Any
) -> None:
    codes, audio = expected
    tracker = RequestTracker(s3, "out", memory_log.log)
    audio_input = AudioInput(AudioSource(s3, ()), 32000, 2)
    model = Model(read_checkpoint(staged_stereo), stereo_generator, AudioStore(s3, ("out",)), tracker, audio_input)
    params = {"do_sample": False, "guidance_scale": 3, "duration": FRAMES / 50}
    body = {"texts": TEXTS, "return_tokens": True, "generation_params": params}
    request = inference.input_fn(json.dumps(body).encode(), "application/json")
    try:
        prediction = inference.predict_fn(request, model, RequestContext(parse_accept(""), "id-1"))
        response = json.loads(inference.output_fn(prediction, ""))
    finally:
        tracker.stop()
    assert (response["channels"], response["durations"]) == (2, [FRAMES / 50] * 2)
    assert response["model"] == "facebook/musicgen-stereo-small"
    for index in range(len(TEXTS)):
        assert response["tokens"][index] == codes[index].tolist()
        assert len(response["tokens"][index]) == 8 and len(codes[index].unique()) > 20
        key = f"audio/id-1/musicgen_stereo-small_id-1_{index}.wav"
        assert response["generated_outputs_s3"][index] == f"s3://out/{key}"
        wav, _ = s3.objects["out", key]
        assert len(wav) == 44 + 2 * 2 * 640 * FRAMES  # header; bytes, channels, samples
        samples, rate = soundfile.read(io.BytesIO(wav), always_2d=True)
        assert (samples.shape, rate) == ((640 * FRAMES, 2), 32_000)
        wanted = audio[index].numpy().clip(-1, 1)
        np.testing.assert_allclose(samples.T, wanted, rtol=0, atol=1e-4)  # 16 bits are 3e-5
        assert not np.allclose(samples.T[::-1], wanted, rtol=0, atol=1e-3)  # exchanged sides would be seen


def test_eight_codebooks_take_as_many_steps_as_four(stereo_generator: Generator) -> None:
    """A stereo model delays its sides in pairs, so a clip of n frames takes n + 3 steps and not n + 7."""
    assert stereo_generator.channels == 2
    assert stereo_generator.runner.config.delays == (0, 0, 1, 1, 2, 2, 3, 3)
