"""The hooks of `inference.py` with the tiny model: from a request body to uploaded audio."""

import base64
import io
import json
from collections.abc import Iterator
from email.message import Message
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import soundfile
import torch
from botocore.exceptions import ClientError, EndpointConnectionError

import inference
from musicgen_serving.audio_download import AudioSource
from musicgen_serving.audio_input import AudioInput, AudioReference
from musicgen_serving.audio_output import wav_bytes
from musicgen_serving.audio_upload import AudioStore, UploadError
from musicgen_serving.engine.errors import PromptTooLongError
from musicgen_serving.engine.sampling_params import ClipSpec, SamplingParams
from musicgen_serving.http.errors import InvalidRequestError, translate_engine_error
from musicgen_serving.http.invocation import Invocations
from musicgen_serving.http.negotiation import RequestContext, parse_accept
from musicgen_serving.http.request import MusicRequest
from musicgen_serving.http.tracking import RequestTracker
from musicgen_serving.model_loading import Model, read_checkpoint


@pytest.fixture
def model(staged_musicgen: Path, generator: Any, s3: Any, memory_log: Any) -> Iterator[Model]:
    tracker = RequestTracker(s3, "out", memory_log.log)
    source = AudioSource.of_buckets(s3, "uploads", ("out", "elsewhere"))
    audio_input = AudioInput(source, generator.sampling_rate, generator.channels)
    store = AudioStore(s3, ("out", "elsewhere"))
    yield Model(read_checkpoint(staged_musicgen), generator, store, tracker, audio_input)
    tracker.stop()


def run_hooks(model: Model, body: dict[str, Any], accept: str = "", inference_id: str = "id-1") -> bytes:
    """Run the hooks for one request and return the response's body."""
    request = inference.input_fn(json.dumps(body).encode(), "application/json")
    context = RequestContext(parse_accept(accept), inference_id)
    return inference.output_fn(inference.predict_fn(request, model, context), accept)


def samples(wav: bytes) -> tuple[Any, int]:
    read: Any = soundfile.read(io.BytesIO(wav), always_2d=True)
    return read


def test_returns_the_contracts_metadata_for_the_aws_samples_request(model: Model, s3: Any) -> None:
    body = {
        "texts": ["calm piano", "loud drums"],
        "bucket_name": "elsewhere",
        "generation_params": {
            "guidance_scale": 3,
            "max_new_tokens": 53,
            "do_sample": True,
            "temperature": 1,
            "seed": 7,
        },
    }
    response = json.loads(run_hooks(model, body))
    keys = [f"audio/id-1/musicgen_small_id-1_{index}.wav" for index in range(2)]
    assert response["generated_outputs_s3"] == [f"s3://elsewhere/{key}" for key in keys]
    assert set(s3.objects) == {("elsewhere", key) for key in keys}  # in any order: they are uploaded concurrently
    version = Path(inference.__file__).with_name("VERSION").read_text(encoding="utf-8").strip()
    assert response["version"] == version
    assert (response["contract"], response["seeds"], response["durations"]) == (1, [7, 8], [1.0, 1.0])
    assert (response["sampling_rate"], response["channels"]) == (32000, 1)
    assert response["model"] == "facebook/musicgen-small"
    assert (response["revision"], response["inference_id"]) == ("0123456789abcdef0123456789abcdef01234567", "id-1")
    assert set(response["timings"]) == {"generate_seconds", "upload_seconds"}


def test_uploads_wav_of_the_requested_length_that_is_not_silent(model: Model, s3: Any) -> None:
    run_hooks(model, {"texts": ["calm piano"], "generation_params": {"duration": 0.5}})
    ((wav, content_type),) = s3.objects.values()
    audio, rate = samples(wav)
    assert (audio.shape, rate, content_type) == ((16000, 1), 32000, "audio/wav")
    assert audio.std() > 0.001


def test_returns_audio_and_uploads_its_metadata(model: Model, s3: Any) -> None:
    wav = run_hooks(model, {"texts": ["calm piano"], "generation_params": {"max_new_tokens": 13}}, "audio/wav")
    assert samples(wav)[0].shape == (10 * 640, 1)
    ((key, (metadata, content_type)),) = s3.objects.items()
    assert (key, content_type) == (("out", "audio/id-1/musicgen_small_id-1_0.json"), "application/json")
    assert json.loads(metadata)["durations"] == [0.2]


def test_the_same_inference_id_writes_the_same_bytes_to_the_same_keys(model: Model, s3: Any) -> None:
    body = {"texts": ["calm piano"], "generation_params": {"max_new_tokens": 13}}
    run_hooks(model, body)
    first = dict(s3.objects)
    run_hooks(model, body)
    assert s3.objects == first


def test_another_inference_id_gives_different_audio(model: Model, s3: Any) -> None:
    body = {"texts": ["calm piano"], "generation_params": {"max_new_tokens": 13}}
    run_hooks(model, body, inference_id="a")
    run_hooks(model, body, inference_id="b")
    (one, _), (other, _) = s3.objects.values()
    assert one != other


def test_rejects_two_texts_for_one_wav_before_generating(model: Model, s3: Any) -> None:
    with pytest.raises(InvalidRequestError, match="exactly one string when Accept is audio/wav, got 2"):
        run_hooks(model, {"texts": ["a", "b"], "generation_params": {"max_new_tokens": 1503}}, "audio/wav")
    assert s3.objects == {}


def test_rejects_a_bucket_that_is_not_allowed(model: Model) -> None:
    with pytest.raises(InvalidRequestError, match='bucket_name must be one of out, elsewhere, got "models"'):
        run_hooks(model, {"texts": ["a"], "bucket_name": "models"})


def test_rejects_a_text_with_too_many_tokens(model: Model) -> None:
    with pytest.raises(PromptTooLongError) as caught:
        run_hooks(model, {"texts": ["a", "q" * 1000]})
    refusal = translate_engine_error(caught.value)
    assert isinstance(refusal, InvalidRequestError)
    assert str(refusal) == f"texts[1] must be at most 512 tokens, got {caught.value.tokens}"


def test_rejects_a_negative_prompt_with_too_many_tokens(model: Model) -> None:
    with pytest.raises(PromptTooLongError) as caught:
        run_hooks(model, {"texts": ["a"], "negative_prompt": "q" * 1000})
    refusal = translate_engine_error(caught.value)
    assert isinstance(refusal, InvalidRequestError)
    assert str(refusal) == f"negative_prompt must be at most 512 tokens, got {caught.value.tokens}"


def test_rejects_two_clips_without_a_text_for_one_wav(model: Model) -> None:
    with pytest.raises(InvalidRequestError, match="unconditional_clips must be 1 when Accept is audio/wav, got 2"):
        run_hooks(model, {"unconditional_clips": 2}, "audio/wav")


SHORT = {"max_new_tokens": 13, "seed": 7}


def test_generates_clips_without_a_text_that_guidance_does_not_change(model: Model, s3: Any) -> None:
    body = {"unconditional_clips": 2, "generation_params": SHORT}
    response = json.loads(run_hooks(model, body))
    assert (response["seeds"], response["durations"]) == ([7, 8], [0.2, 0.2])
    clips = dict(s3.objects)
    run_hooks(model, {"unconditional_clips": 2, "generation_params": {**SHORT, "guidance_scale": 20}})
    assert s3.objects == clips and len(set(clips.values())) == 2
    run_hooks(model, {"texts": ["a", "b"], "generation_params": SHORT})
    assert not set(clips.values()) & set(s3.objects.values())


def test_a_negative_prompt_changes_a_clip_unless_guidance_is_off(model: Model, s3: Any) -> None:
    made: list[dict[Any, Any]] = []
    for scale in (3, 1):
        for negative in ({}, {"negative_prompt": "loud drums"}):
            params = {**SHORT, "guidance_scale": scale}
            run_hooks(model, {"texts": ["calm piano"], "generation_params": params, **negative})
            made.append(dict(s3.objects))
    assert made[0] != made[1] and made[2] == made[3]


@pytest.mark.parametrize("accept", ["", "audio/wav"])
def test_returned_tokens_decode_to_the_clips_in_the_order_of_the_texts(
    accept: str, model: Model, s3: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    lengths = (60, 13) if not accept else (13,)  # the second clip is finished first
    clips = [ClipSpec("a", index, SamplingParams(max_new_tokens=tokens)) for index, tokens in enumerate(lengths)]
    monkeypatch.setattr(MusicRequest, "clip_specs", Mock(return_value=clips))
    body = run_hooks(model, {"texts": ["a"], "return_tokens": True}, accept)
    name = "audio/id-1/musicgen_small_id-1_{}"
    metadata = json.loads(s3.objects["out", name.format("0.json")][0] if accept else body)
    for index, tokens in enumerate(metadata["tokens"]):
        assert len(tokens) == 4 and {len(row) for row in tokens} == {lengths[index] - 3}
        wav = body if accept else s3.objects["out", name.format(f"{index}.wav")][0]
        codec = model.generator.codec_worker.codec
        audio = codec.decode(torch.tensor(tokens)).numpy()
        assert wav_bytes(audio, model.generator.sampling_rate) == wav
    assert len(metadata["tokens"]) == len(lengths)


def test_returns_no_tokens_by_default(model: Model) -> None:
    assert "tokens" not in json.loads(run_hooks(model, {"texts": ["a"], "generation_params": SHORT}))


def test_a_clip_is_uploaded_while_others_are_generated_and_urls_keep_their_order(
    model: Model, s3: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clips' lengths differ, which no request can ask for: the hooks get them from a replaced `clip_specs`."""
    put, in_flight = s3.put_object, dict[str, int]()

    def noting(*, Key: str, **rest: Any) -> None:  # noqa: N803
        in_flight[Key] = len(model.generator.batch.sequences)
        put(Key=Key, **rest)

    monkeypatch.setattr(s3, "put_object", noting)
    clips = [ClipSpec("a", index, SamplingParams(max_new_tokens=tokens)) for index, tokens in enumerate((603, 13))]
    monkeypatch.setattr(MusicRequest, "clip_specs", Mock(return_value=clips))
    response = json.loads(run_hooks(model, {"texts": ["a", "b"]}))
    keys = [f"audio/id-1/musicgen_small_id-1_{index}.wav" for index in range(2)]
    assert in_flight == {keys[0]: 0, keys[1]: 1}
    assert response["generated_outputs_s3"] == [f"s3://out/{key}" for key in keys]
    assert response["durations"] == [12.0, 0.2]


def test_a_failed_upload_stops_the_requests_other_clips(model: Model, s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    s3.failure = ClientError({"Error": {"Code": "AccessDenied"}}, "PutObject")
    lengths = (13, 20, 1503)
    clips = [ClipSpec("a", index, SamplingParams(max_new_tokens=tokens)) for index, tokens in enumerate(lengths)]
    monkeypatch.setattr(MusicRequest, "clip_specs", Mock(return_value=clips))
    steps = Mock(wraps=model.generator.batch.step)
    monkeypatch.setattr(model.generator.batch, "step", steps)
    with pytest.raises(UploadError, match=r"_0\.wav: AccessDenied"):
        run_hooks(model, {"texts": ["a", "b", "c"]})
    assert steps.call_count < 1000


def test_a_failed_upload_is_a_500_and_never_an_empty_success(model: Model, s3: Any, memory_log: Any) -> None:
    s3.failure = ClientError({"Error": {"Code": "AccessDenied"}}, "PutObject")
    invocations = Invocations(memory_log.log, 1)
    invocations.serve(inference, model)
    message = Message()
    message["Content-Type"] = "application/json"
    body = b'{"texts": ["a"], "generation_params": {"max_new_tokens": 5}}'
    response = invocations.answer(message, lambda: body)
    assert response.status == 500
    name = f"audio/{memory_log.events('invocation')[0]['inference_id']}/"
    error = json.loads(response.body)["error"]
    assert error.startswith(f"the request could not be completed: could not write s3://out/{name}")
    assert error.endswith("_0.wav: AccessDenied")


def test_writes_the_requested_format_level_and_tags(model: Model, s3: Any) -> None:
    texts = ["calm piano", "drums"]
    body: dict[str, Any] = {
        "texts": texts, "format": "flac", "normalization": "peak", "tags": True, "fade_out": 0.1,
        "generation_params": SHORT,
    }  # fmt: skip
    response = json.loads(run_hooks(model, body))
    keys = [f"audio/id-1/musicgen_small_id-1_{index}.flac" for index in range(2)]
    assert response["generated_outputs_s3"] == [f"s3://out/{key}" for key in keys]
    for key, title, seed in zip(keys, texts, (7, 8), strict=True):
        flac, content_type = s3.objects["out", key]
        audio, rate = samples(flac)
        assert (audio.shape, rate, content_type) == ((6400, 1), 32000, "audio/flac")
        assert abs(audio).max() == pytest.approx(10 ** (-1 / 20), abs=1e-4) and audio[-1] == 0
        found = soundfile.SoundFile(io.BytesIO(flac)).copy_metadata()
        assert found["title"] == title and found["comment"].startswith(f"seed {seed}; facebook/musicgen-small at ")


def song(seconds: float, rate: int = 44100) -> bytes:
    """Return a FLAC in stereo."""
    buffer = io.BytesIO()
    wave = np.sin(np.arange(round(seconds * rate)) * 0.06)[:, None] * [0.5, 0.3]
    soundfile.write(buffer, wave, rate, format="FLAC")
    return buffer.getvalue()


def test_a_clip_continues_an_excerpt_in_s3_and_starts_with_it(model: Model, s3: Any) -> None:
    s3.objects["uploads", "in/song.flac"] = (song(3), "audio/flac")
    excerpt = {"audio": {"s3": "s3://uploads/in/song.flac"}, "start": 1, "end": 1.5}
    body: dict[str, Any] = {"texts": ["a", "b"], "return_tokens": True, "generation_params": SHORT}
    response = json.loads(run_hooks(model, {**body, "continuation": excerpt}))
    assert response["durations"] == [0.7, 0.7]
    assert [len(codes[0]) for codes in response["tokens"]] == [35, 35]
    whole = [samples(s3.objects["out", f"audio/id-1/musicgen_small_id-1_{index}.wav"][0])[0] for index in range(2)]
    assert whole[0].shape == (35 * 640, 1)
    rest = json.loads(run_hooks(model, {**body, "continuation": {**excerpt, "return_excerpt": False}}))
    assert rest["durations"] == [0.2, 0.2]
    assert rest["tokens"] == [[row[25:] for row in codes] for codes in response["tokens"]]
    cut = samples(s3.objects["out", "audio/id-1/musicgen_small_id-1_0.wav"][0])[0]
    np.testing.assert_array_equal(cut, whole[0][25 * 640 :])
    tokens = torch.tensor(response["tokens"][0])[:, :25]
    prompt = model.audio_input.load(AudioReference(field="x", max_seconds=25, data=song(3), start=1, end=1.5))
    codec = model.generator.codec_worker.codec
    assert torch.equal(codec.encode(torch.as_tensor(prompt)), tokens)


def test_a_clip_continues_an_earlier_one_and_audio_in_base64_without_a_text(model: Model, s3: Any) -> None:
    first = json.loads(run_hooks(model, {"texts": ["a"], "generation_params": SHORT}))["generated_outputs_s3"][0]
    audio: list[dict[str, str]] = [{"s3": first}, {"base64": base64.b64encode(song(0.2)).decode()}]
    for one in audio:
        body = {"unconditional_clips": 1, "continuation": {"audio": one}, "generation_params": SHORT}
        assert json.loads(run_hooks(model, body, inference_id="id-2"))["durations"] == [0.4]


def test_an_excerpt_and_what_follows_it_may_be_longer_than_the_models_clips(model: Model, s3: Any) -> None:
    s3.objects["uploads", "in/song.flac"] = (song(21), "audio/flac")
    body = {
        "texts": ["a"],
        "continuation": {"audio": {"s3": "s3://uploads/in/song.flac"}},
        "generation_params": {"duration": 10},
    }
    assert json.loads(run_hooks(model, body))["durations"] == [31.0]


@pytest.mark.parametrize(
    ("failure", "status", "sentence"),
    [
        (None, 422, "continuation.audio.s3 must be an object that exists and that the endpoint's role may read, got "),
        (
            EndpointConnectionError(endpoint_url="https://s3"),
            500,
            "the request could not be completed: could not read s3://",
        ),
    ],
)
def test_a_missing_object_is_a_422_and_an_outage_of_s3_a_500(
    failure: Exception | None, status: int, sentence: str, model: Model, s3: Any, memory_log: Any
) -> None:
    s3.failure = failure
    invocations = Invocations(memory_log.log, 1)
    invocations.serve(inference, model)
    message = Message()
    message["Content-Type"] = "application/json"
    body = {"texts": ["a"], "progress": True, "continuation": {"audio": {"s3": "s3://uploads/in/song.flac"}}}
    response = invocations.answer(message, lambda: json.dumps(body).encode())
    error = json.loads(response.body)["error"]
    assert response.status == status and error.startswith(sentence) and "s3://uploads/in/song.flac" in error


@pytest.mark.parametrize("accept", ["", "audio/wav"])
def test_explicit_defaults_write_the_same_file_as_a_request_without_them(accept: str, model: Model, s3: Any) -> None:
    body = {"texts": ["calm piano"], "generation_params": SHORT}
    first, objects = run_hooks(model, body, accept), dict(s3.objects)
    defaults = {
        "format": "wav",
        "normalization": "none",
        "fade_in": 0,
        "fade_out": 0,
        "trim_tail": False,
        "tags": False,
    }
    second = run_hooks(model, {**body, **defaults}, accept)
    assert second == first if accept else s3.objects == objects


def test_a_float_wav_can_be_the_body_and_mp3_cannot(model: Model) -> None:
    body = {"texts": ["a"], "generation_params": SHORT}
    wav = run_hooks(model, {**body, "format": "wav_float"}, "audio/wav")
    assert soundfile.info(io.BytesIO(wav)).subtype == "FLOAT"
    sentence = 'format must be one of wav, wav_24, wav_float when Accept is audio/wav, got "mp3"'
    with pytest.raises(InvalidRequestError, match=sentence):
        run_hooks(model, {**body, "format": "mp3"}, "audio/wav")


def test_refuses_a_format_that_the_container_cannot_write_before_generating(
    model: Model, s3: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing() -> dict[str, str]:
        return {"mp3": "the container's libsndfile 1.0.31 cannot write it"}

    monkeypatch.setattr("musicgen_serving.audio_output.missing_formats", missing)
    steps = Mock(wraps=model.generator.batch.step)
    monkeypatch.setattr(model.generator.batch, "step", steps)
    with pytest.raises(InvalidRequestError) as caught:
        run_hooks(model, {"texts": ["a"], "format": "mp3"})
    assert str(caught.value) == (
        'format must be one of wav, wav_24, wav_float, flac, flac_24, ogg, got "mp3": '
        "the container's libsndfile 1.0.31 cannot write it"
    )
    assert s3.objects == {} and not steps.called


# ---- sections, variations and loops


def test_sections_give_one_file_of_their_length(model: Model, s3: Any) -> None:
    body = {
        "sections": [{"text": "calm piano", "duration": 0.5}, {"text": "loud drums", "duration": 0.3}],
        "return_tokens": True, "generation_params": {"seed": 7},
    }  # fmt: skip
    answer = json.loads(run_hooks(model, body))
    assert answer["durations"] == [0.8] and len(answer["tokens"][0][0]) == 40
    alone = json.loads(
        run_hooks(
            model, {"texts": ["calm piano"], "return_tokens": True, "generation_params": {"duration": 0.5, "seed": 7}}
        )
    )
    assert [row[:20] for row in answer["tokens"][0]] == [row[:20] for row in alone["tokens"][0]]


def test_variations_differ_and_their_seeds_give_them_again(model: Model, s3: Any) -> None:
    answer = json.loads(run_hooks(model, {"texts": ["a"], "n": 3, "generation_params": SHORT}))
    assert answer["seeds"] == [7, 8, 9] and len({s3.objects[url] for url in s3.objects}) == 3
    again = json.loads(
        run_hooks(model, {"texts": ["a"], "generation_params": {**SHORT, "seed": 9}}, inference_id="id-2")
    )
    first, second = ((answer["generated_outputs_s3"][2]), (again["generated_outputs_s3"][0]))
    assert s3.objects[tuple(first[5:].split("/", 1))] == s3.objects[tuple(second[5:].split("/", 1))]


def test_a_loop_has_its_exact_length(model: Model) -> None:
    body = {"texts": ["a"], "loop": True, "bpm": 173, "bars": 1, "generation_params": {"seed": 7}}
    audio, rate = samples(run_hooks(model, body, "audio/wav"))
    assert len(audio) == round(4 * 60 / 173 * rate) and abs(audio).max() > 0


def test_tags_name_every_section(model: Model, s3: Any) -> None:
    body = {
        "sections": [{"text": "calm", "duration": 0.1}, {"text": "loud", "duration": 0.1}],
        "tags": True,
        "format": "flac",
    }
    run_hooks(model, body)
    (file,) = s3.objects.values()
    with soundfile.SoundFile(io.BytesIO(file[0])) as flac:
        assert flac.title == "calm / loud"


def test_refuses_a_piece_that_is_too_long_before_generating(model: Model) -> None:
    with pytest.raises(InvalidRequestError, match="sections must give at most 300 s, got 301 s"):
        run_hooks(model, {"sections": [{"text": "a", "duration": 150.5}] * 2})


def test_names_the_section_whose_text_has_too_many_tokens(model: Model) -> None:
    sections = [{"text": "a", "duration": 1}, {"text": "q" * 1000, "duration": 1}]
    with pytest.raises(PromptTooLongError) as caught:
        run_hooks(model, {"sections": sections})
    assert str(translate_engine_error(caught.value)).startswith("sections[1].text must be at most 512 tokens, got ")
