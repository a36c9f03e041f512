"""Requests in the formats of other services, as their documentation and their users write them."""

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from musicgen_client import Excerpt, Request
from musicgen_client.errors import InvalidRequest
from musicgen_client.foreign import (
    Source,
    convert,
    from_audiocraft,
    from_huggingface,
    from_openai,
    from_replicate,
)
from musicgen_serving.http.request import parse_request

R, H, AI, A = Source
EVERYTHING = {
    "prompt": "triumphant theme", "duration": 20, "top_k": 250, "top_p": 0, "temperature": 1, "continuation": False,
    "model_version": "stereo-large", "output_format": "wav", "continuation_start": 0, "multi_band_diffusion": False,
    "normalization_strategy": "loudness", "classifier_free_guidance": 3,
}  # fmt: skip
URL = "s3://inputs/in/song.mp3"
SAMPLING = {"temperature": 1, "top_k": 250, "guidance_scale": 3}

# (format, request, what it means here). The comment is where the form comes from; the words are ours.
ACCEPTED: list[tuple[Source, dict[str, Any], dict[str, Any]]] = [
    # replicate.com/meta/musicgen: every field, as its playground writes them
    (R, EVERYTHING, {"texts": ("triumphant theme",), "duration": 20, **SAMPLING, "format": "wav", "normalization": "loudness"}),
    # the same page: fields that are missing have defaults, the length is 8 s
    (R, {"prompt": "calm piano"}, {"texts": ("calm piano",), "duration": 8}),
    # api.replicate.com/v1/predictions: version and input
    (R, {"version": "671ac645", "input": {"prompt": "edo25 melodies", "duration": 8}}, {"texts": ("edo25 melodies",), "duration": 8}),
    # api.replicate.com/v1/models/meta/musicgen/predictions: input only
    (R, {"input": {"prompt": "waltz", "model_version": "melody-large"}, "stream": False}, {"texts": ("waltz",), "duration": 8}),
    # version 7a76a825: "If None or -1, a random seed will be used"
    (R, {"prompt": "x", "seed": -1}, {"texts": ("x",), "duration": 8}),
    (R, {"prompt": "x", "seed": None}, {"texts": ("x",), "duration": 8}),
    (R, {"prompt": "x", "seed": 4242}, {"texts": ("x",), "duration": 8, "seed": 4242}),
    # version 7a76a825: "When set to 0 (default), top_k sampling is used", so another value replaces it
    (R, {"prompt": "x", "top_p": 0.9, "top_k": 250}, {"texts": ("x",), "duration": 8, "top_p": 0.9, "top_k": 0}),
    # version b1547dad: the models melody and large, melody as the audio's name, continuation_end 8
    (R, {"prompt": "x", "model_version": "melody", "melody": None, "continuation_end": 8}, {"texts": ("x",), "duration": 8}),
    # replicate.com/sakemin/musicgen-pansori: a fine-tune without weights of its own
    (R, {"prompt": "x", "replicate_weights": "", "duration": 30}, {"texts": ("x",), "duration": 30}),
    # replicate.com/pphu/musicgen-small: a small schema, peaks instead of loudness
    (R, {"prompt": "x", "normalization_strategy": "peak", "output_format": "mp3"}, {"texts": ("x",), "duration": 8, "format": "mp3", "normalization": "peak"}),
    # replicate/cog-musicgen, first predict.py: description and strategy
    (R, {"description": "organ", "duration": 12, "strategy": "loudness", "seed": -1}, {"texts": ("organ",), "duration": 12, "normalization": "loudness"}),
    # a web function's call of the HTTP API: floats where integers are documented
    (R, {"prompt": "x", "temperature": 1.0, "top_k": 250, "top_p": 0.0}, {"texts": ("x",), "duration": 8, "temperature": 1.0, "top_k": 250}),
    # docs.scenario.com, Meta MusicGen: guidance of up to 10
    (R, {"classifier_free_guidance": 10, "prompt": "x", "duration": 15}, {"texts": ("x",), "duration": 15, "guidance_scale": 10}),
    # AutoGPT's block "AI Music Generator": melody-large, all six parameters
    (R, {**EVERYTHING, "model_version": "melody-large", "normalization_strategy": "rms", "duration": 8}, {"texts": ("triumphant theme",), "duration": 8, **SAMPLING, "format": "wav", "normalization": "rms"}),
    # audiocraft, which Replicate runs, samples greedily at temperature 0
    (R, {"prompt": "x", "temperature": 0}, {"texts": ("x",), "duration": 8, "do_sample": False}),
    # replicate.com/meta/musicgen: "If `continuation` is `True`, the generated music will be a continuation of `input_audio`"
    (R, {"prompt": "x", "input_audio": URL, "continuation": True}, {"texts": ("x",), "duration": 8, "continuation": Excerpt(s3=URL)}),
    (R, {"prompt": "x", "input_audio": URL, "continuation": True, "continuation_start": 3, "continuation_end": 9}, {"texts": ("x",), "duration": 8, "continuation": Excerpt(s3=URL, start=3, end=9)}),
    # the same: "Otherwise, the generated music will mimic the melody"; start and end are a continuation's
    (R, {"prompt": "x", "input_audio": URL, "continuation": False, "continuation_start": 3}, {"texts": ("x",), "duration": 8, "melody": Excerpt(s3=URL)}),
    # replicate.com/docs: a file may be a data URL; version b1547dad calls it melody
    (R, {"prompt": "x", "melody": "data:audio/wav;base64,UklG"}, {"texts": ("x",), "duration": 8, "melody": Excerpt(base64="UklG")}),
    (R, {"prompt": "x", "input_audio": "", "continuation": False}, {"texts": ("x",), "duration": 8}),
    # @huggingface/tasks, text-to-audio: inputs alone
    (H, {"inputs": "liquid drum and bass"}, {"texts": ("liquid drum and bass",)}),
    # the same: parameters.generation_parameters
    (H, {"inputs": "x", "parameters": {"generation_parameters": {"do_sample": True, "max_new_tokens": 512, "top_k": 50}}}, {"texts": ("x",), "do_sample": True, "max_new_tokens": 512, "top_k": 50}),
    # the same: its values that are off
    (H, {"inputs": "x", "parameters": {"generation_parameters": {"epsilon_cutoff": 0, "eta_cutoff": 0, "typical_p": 1.0, "num_beams": 1, "early_stopping": False, "use_cache": True}}}, {"texts": ("x",)}),
    # facebook/musicgen-small, model card: do_sample, guidance_scale, max_new_tokens
    (H, {"inputs": "80s pop", "parameters": {"do_sample": True, "guidance_scale": 3, "max_new_tokens": 256}}, {"texts": ("80s pop",), "do_sample": True, "guidance_scale": 3, "max_new_tokens": 256}),
    # derrickdso/samplegen-small, handler.py: any argument of generate in parameters
    (H, {"inputs": "x", "parameters": {"do_sample": True, "temperature": 0.8}}, {"texts": ("x",), "do_sample": True, "temperature": 0.8}),
    # reach-vb/musicgen-large-endpoint, handler.py: a list of texts
    (H, {"inputs": ["pop", "rock"], "parameters": {"guidance_scale": 3.5}}, {"texts": ("pop", "rock"), "guidance_scale": 3.5}),
    # pbotsaris/musicgen-small, handler.py: duration in parameters
    (H, {"inputs": "x", "parameters": {"duration": 12}}, {"texts": ("x",), "duration": 12}),
    # jamesdon/audiogen-medium-endpoint, handler.py: duration beside inputs
    (H, {"inputs": ["x"], "duration": 5}, {"texts": ("x",), "duration": 5}),
    # cherrihart/musicgen-melody, handler.py: audio, absent
    (H, {"inputs": "x", "audio": None, "parameters": None}, {"texts": ("x",)}),
    # huggingface.co/docs/api-inference: options
    (H, {"inputs": "x", "options": {"wait_for_model": True, "use_cache": False}}, {"texts": ("x",)}),
    # @huggingface/inference, arguments of textToSpeech: model and provider beside inputs
    (H, {"inputs": "x", "model": "facebook/musicgen-small", "provider": "hf-inference"}, {"texts": ("x",)}),
    # transformers, MusicGen: guidance_scale of 1 is off; nucleus sampling; greedy
    (H, {"inputs": "x", "parameters": {"guidance_scale": 1}}, {"texts": ("x",), "guidance_scale": 1}),
    (H, {"inputs": "x", "parameters": {"top_p": 0.95, "top_k": 0, "seed": 3}}, {"texts": ("x",), "top_p": 0.95, "top_k": 0, "seed": 3}),
    (H, {"inputs": "x", "parameters": {"do_sample": False, "max_new_tokens": 400}}, {"texts": ("x",), "do_sample": False, "max_new_tokens": 400}),
    # docs.nano-gpt.com/api-reference/music-generation: a music model behind /v1/audio/speech
    (AI, {"model": "a-music-model", "input": "lo-fi beat, 120 BPM"}, {"texts": ("lo-fi beat, 120 BPM",)}),
    # the same, from OpenAI's SDK, which requires a voice
    (AI, {"model": "a-music-model", "input": "x", "voice": "alloy"}, {"texts": ("x",)}),
    # developers.openai.com, create speech: all optional fields at their defaults
    (AI, {"model": "tts-1", "input": "x", "voice": {"id": "voice_1"}, "response_format": "mp3", "speed": 1.0, "stream_format": "audio"}, {"texts": ("x",), "format": "mp3"}),
    # the same: wav
    (AI, {"model": "musicgen", "input": "x", "voice": "nova", "response_format": "wav"}, {"texts": ("x",), "format": "wav"}),
    # LocalAI, /tts and /v1/audio/speech: backend
    (AI, {"backend": "transformers-musicgen", "model": "facebook/musicgen-medium", "input": "cello"}, {"texts": ("cello",)}),
    # LocalAI, /v1/sound-generation (ElevenLabs' form): model_id, text, duration_seconds, do_sample
    (AI, {"model_id": "facebook/musicgen-small", "text": "x", "duration_seconds": 7.5, "do_sample": True}, {"texts": ("x",), "duration": 7.5, "do_sample": True}),
    # OpenAI's forms for generated media: prompt, n and user
    (AI, {"model": "musicgen", "prompt": "x", "n": 3, "user": "u-1", "seed": 5}, {"texts": ("x", "x", "x"), "seed": 5}),
    # audiocraft, docs/MUSICGEN.md: set_generation_params(duration=8), generate(descriptions)
    (A, {"duration": 8, "descriptions": ["happy rock", "energetic EDM", "sad jazz"]}, {"texts": ("happy rock", "energetic EDM", "sad jazz"), "duration": 8}),
    # set_generation_params: its default length is 30 s
    (A, {"descriptions": ["x"], "progress": True}, {"texts": ("x",), "duration": 30}),
    # set_generation_params: every argument
    (A, {"use_sampling": True, "top_k": 250, "top_p": 0.0, "temperature": 1.0, "duration": 30.0, "cfg_coef": 3.0, "cfg_coef_beta": None, "two_step_cfg": False, "extend_stride": 18, "descriptions": ["x"]}, {"texts": ("x",), "duration": 30, "stride": 18, "do_sample": True, **SAMPLING}),
    # MAGNeT's example in the same library: top_k 0, top_p 0.9
    (A, {"descriptions": ["x"], "use_sampling": True, "top_k": 0, "top_p": 0.9, "duration": 10}, {"texts": ("x",), "duration": 10, "do_sample": True, "top_k": 0, "top_p": 0.9}),
    # set_generation_params: "if True, performs 2 forward" computes the same; greedy
    (A, {"descriptions": ["x"], "two_step_cfg": True, "use_sampling": False, "duration": 5}, {"texts": ("x",), "duration": 5, "do_sample": False}),
    # demos/musicgen_demo.ipynb: generate_unconditional(num_samples=2)
    (A, {"num_samples": 2, "duration": 10, "progress": True}, {"unconditional_clips": 2, "duration": 10}),
    # demos/musicgen_app.py through gradio_client, /predict_full
    (A, {"model": "facebook/musicgen-small", "model_path": "", "decoder": "Default", "text": "x", "melody": None, "duration": 10, "topk": 250, "topp": 0, "temperature": 1, "cfg_coef": 3}, {"texts": ("x",), "duration": 10, **SAMPLING}),
    # the first app.py of the MusicGen Space: no decoder; a seed from the forks
    (A, {"model": "melody", "text": "x", "melody": None, "duration": 12, "topk": 200, "topp": 0.5, "temperature": 1.2, "cfg_coef": 4, "seed": -1}, {"texts": ("x",), "duration": 12, "top_k": 0, "top_p": 0.5, "temperature": 1.2, "guidance_scale": 4}),
    # audio_write(format, strategy, loudness_compressor) beside the parameters
    (A, {"descriptions": ["x"], "duration": 8, "format": "wav", "strategy": "loudness", "loudness_compressor": True}, {"texts": ("x",), "duration": 8, "format": "wav", "normalization": "loudness"}),
]  # fmt: skip


@pytest.mark.parametrize(("source", "payload", "meaning"), ACCEPTED)
def test_documented_request_is_accepted_unmodified(
    source: Source, payload: dict[str, Any], meaning: dict[str, Any]
) -> None:
    before = json.dumps(payload)
    request = convert(source, payload).request
    assert request == Request(**meaning)
    assert json.dumps(payload) == before
    parse_request(request.body(), "application/json")  # the container accepts it, too


def test_there_are_forty_examples_of_four_services() -> None:
    assert len({json.dumps([source, payload]) for source, payload, _ in ACCEPTED}) >= 40
    assert {source for source, _, _ in ACCEPTED} == set(Source)


REFUSED: list[tuple[Source, Any, str]] = [
    (R, {"prompt": "x", "input_audio": "https://a/b.mp3", "continuation": True, "top_k": 250},
     'replicate request: input_audio must be an s3:// URL or a data URL in base64, got "https://a/b.mp3": the endpoint reads only S3 and base64'),
    (R, {"prompt": "x", "melody": "http://a/b.mp3"}, 'replicate request: melody must be an s3:// URL or a data URL in base64, got "http://a/b.mp3"'),
    (R, {"prompt": "x", "input_audio": 3}, "input_audio must be an s3:// URL or a data URL in base64, got 3"),
    (R, {"prompt": "x", "input_audio": "s3://inputs"}, 'replicate request: input_audio must be s3://bucket/key, got "s3://inputs"'),
    (R, {"prompt": "x", "melody": "data:audio/wav;base64,UklGR"}, "replicate request: melody must be base64 of RFC 4648 with padding"),
    (R, {"prompt": "x", "melody": URL, "input_audio": URL}, "replicate request: it must have one of input_audio and melody, got both"),
    (R, {"prompt": "x", "continuation": True}, "replicate request: it must have input_audio for its continuation, got none"),
    (R, {"prompt": "x", "input_audio": URL, "continuation": True, "continuation_end": 26},
     "replicate request: continuation_end must be after start, by at most 25 s, got 0.0 to 26.0"),
    (R, {"prompt": "x", "input_audio": URL, "continuation": True, "continuation_start": -1},
     "replicate request: continuation_start must be a number from 0 to 600, got -1"),
    (A, {"descriptions": ["x"], "extend_stride": 30}, "audiocraft request: extend_stride must be a number from 1 to 29, got 30"),
    (R, {"prompt": "x", "multi_band_diffusion": True, "top_k": 3},
     "replicate request must have no multi_band_diffusion true; supported are prompt, description, duration, "
     "classifier_free_guidance, temperature, top_k, top_p, seed"),
    (R, {"prompt": "x", "multi_band_diffusion": True}, "must have no multi_band_diffusion true"),
    (R, {"prompt": "x", "continuation": 0}, "replicate request: continuation must be true or false, got 0"),
    (R, {"prompt": "x", "duration": 330}, "replicate request: duration must be a number from 0.02 to 300, got 330"),
    (R, {"prompt": "x", "classifier_free_guidance": 0}, "replicate request: classifier_free_guidance must be a number from 1 to 20, got 0"),
    (R, {"prompt": "x", "webhook": "https://a"}, 'must have no webhook "https://a"'),
    (R, {"duration": 8}, "replicate request: it must have prompt or description, got neither"),
    (R, {"prompt": ["x"]}, "replicate request: prompt must be a string of 1 to 1000 characters, got an array of 1 items"),
    (R, {"input": "x"}, 'replicate request: input must be an object, got "x"'),
    (R, {"seed": 1, "input": {"prompt": "x", "seed": 2}}, "must have seed once, got it also in input"),
    (R, {"prompt": "x", "top_p": "0"}, 'replicate request: top_p must be a number from 1e-06 to 1, got "0"'),
    (H, {"inputs": "x", "parameters": {"num_beams": 4, "max_length": 1500}}, "huggingface request must have no num_beams 4, max_length 1500; supported are inputs, max_new_tokens"),
    (H, {"inputs": "x", "parameters": {"max_new_tokens": 2000}}, "huggingface request: max_new_tokens must be an integer from 4 to 1503, got 2000"),
    (H, {"inputs": "x", "parameters": {"guidance_scale": 0}}, "huggingface request: guidance_scale must be a number from 1 to 20, got 0"),
    (H, {"inputs": ["x", ""]}, "huggingface request: inputs[1] must be a string of 1 to 1000 characters, got 0 characters"),
    (H, {"inputs": "x", "parameters": {"duration": 3, "max_new_tokens": 9}}, "must have one of duration and max_new_tokens, got both"),
    (AI, {"model": "m", "input": "x", "speed": 1.5, "instructions": "sing"}, 'openai request must have no speed 1.5, instructions "sing"'),
    (AI, {"model": "m", "input": "x", "prompt": "y"}, "it must have input or prompt or text, got input and prompt"),
    (AI, {"prompt": "x", "n": 17}, "n must be an integer from 1 to 16, got 17"),
    (AI, {"prompt": "x", "n": True}, "n must be an integer from 1 to 16, got true"),
    (AI, {"prompt": "x", "duration": 3, "duration_seconds": 4}, "must have one of duration_seconds and its synonyms, got several"),
    (A, {"text": "x", "decoder": "MultiBand_Diffusion"}, 'audiocraft request must have no decoder "MultiBand_Diffusion"'),
    (A, {"descriptions": ["x"], "cfg_coef_beta": 5}, "must have no cfg_coef_beta 5"),
    (A, {"descriptions": ["x"], "duration": 600, "extend_stride": 18}, "audiocraft request: duration must be a number from 0.02 to 300, got 600"),
    (A, {"descriptions": ["x"], "num_samples": 2}, "num_samples must be the number of descriptions, 1, got 2"),
    (A, {"num_samples": 0}, "audiocraft request: num_samples must be an integer from 1 to 16, got 0"),
    (A, {"data": ["x", None, 10]}, "audiocraft request must have no data an array of 3 items"),
    (A, ["x"], "audiocraft request must be an object, got an array of 1 items"),
]  # fmt: skip


@pytest.mark.parametrize(("source", "payload", "sentence"), REFUSED)
def test_refusal_names_the_foreign_fields_their_values_and_what_is_supported(
    source: Source, payload: Any, sentence: str
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        convert(source, payload)
    assert sentence in str(refused.value)
    assert "\n" not in str(refused.value) and "generation_params.top" not in str(refused.value)


def test_fields_about_the_service_are_noted() -> None:
    assert convert("replicate", EVERYTHING).notes == (
        'model_version "stereo-large" has no effect: the stack\'s own model generates',
    )
    assert convert("huggingface", {"inputs": "x"}).notes == ()


def test_a_format_that_is_not_written_here_is_noted() -> None:
    converted = convert("openai", {"input": "x", "response_format": "opus"})
    assert converted.request.format is None
    assert converted.notes == (
        'response_format "opus" has no effect: files are written as wav, wav_24, wav_float, flac, flac_24, ogg, mp3',
    )


def test_each_service_has_a_function() -> None:
    assert from_replicate({"prompt": "x"}).duration == 8
    assert from_huggingface({"inputs": "x"}).texts == ("x",)
    assert from_openai({"input": "x"}).texts == ("x",)
    assert from_audiocraft({"text": "x"}).duration == 30
    with pytest.raises(InvalidRequest, match='must be one of replicate, huggingface, openai, audiocraft, got "suno"'):
        convert("suno", {})


VALUES: list[Any] = [
    None, True, False, 0, 1, -1, 0.5, 17, 1e9, math.nan, math.inf, "", "x", "Default", [], ["x"], ["x", None], {},
    {"prompt": "x"}, {"duration": 3}, {"top_k": []}, URL, "data:;base64,", "data:audio/mp3;base64,SUQz",
]  # fmt: skip
names = sorted({name for _, payload, _ in ACCEPTED for name in payload} | {"n", "num_samples"})


@given(st.sampled_from(list(Source)), st.dictionaries(st.sampled_from(names), st.sampled_from(VALUES), max_size=4))
def test_any_json_is_converted_or_refused(source: Source, payload: dict[str, Any]) -> None:
    try:
        request = convert(source, payload).request
    except InvalidRequest:
        return
    parse_request(request.body(), "application/json")
