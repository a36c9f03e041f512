"""From a checked request to delivered audio, with the tiny model and the hooks of `inference.py`."""

import io
import json
from email.message import Message
from pathlib import Path
from typing import Any

import pytest
import soundfile
from botocore.exceptions import ClientError

import inference
from musicgen_serving.checkpoint import read_checkpoint
from musicgen_serving.errors import InvalidRequestError
from musicgen_serving.invocation import Headers, Invocations
from musicgen_serving.prediction import Model
from musicgen_serving.store import AudioStore


@pytest.fixture
def model(staged_musicgen: Path, generator: Any, s3: Any) -> Model:
    return Model(read_checkpoint(staged_musicgen), generator, AudioStore(s3, ("out", "elsewhere")))


def answered(model: Model, body: dict[str, Any], accept: str = "", inference_id: str = "id-1") -> bytes:
    """What the toolkit does with one request."""
    message = Message()
    message["Accept"] = accept
    request = inference.input_fn(json.dumps(body).encode(), "application/json")
    return inference.output_fn(inference.predict_fn(request, model, Headers(message, inference_id)), accept)


def samples(wav: bytes) -> tuple[Any, int]:
    read: Any = soundfile.read(io.BytesIO(wav), always_2d=True)
    return read


def test_answers_the_aws_samples_request_with_the_contracts_metadata(model: Model, s3: Any) -> None:
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
    answer = json.loads(answered(model, body))
    keys = [f"audio/id-1/musicgen_small_id-1_{index}.wav" for index in range(2)]
    assert answer["generated_outputs_s3"] == [f"s3://elsewhere/{key}" for key in keys]
    assert list(s3.objects) == [("elsewhere", key) for key in keys]
    assert (answer["contract"], answer["seeds"], answer["durations"]) == (1, [7, 8], [1.0, 1.0])
    assert (answer["sampling_rate"], answer["model"]) == (32000, "facebook/musicgen-small")
    assert (answer["revision"], answer["inference_id"]) == ("0123456789abcdef0123456789abcdef01234567", "id-1")
    assert set(answer["timings"]) == {"generate_seconds", "upload_seconds"}


def test_uploads_wav_of_the_asked_length_that_is_not_silent(model: Model, s3: Any) -> None:
    answered(model, {"texts": ["calm piano"], "generation_params": {"duration": 0.5}})
    ((wav, content_type),) = s3.objects.values()
    audio, rate = samples(wav)
    assert (audio.shape, rate, content_type) == ((16000, 1), 32000, "audio/wav")
    assert audio.std() > 0.001


def test_answers_with_audio_and_puts_its_metadata_beside(model: Model, s3: Any) -> None:
    wav = answered(model, {"texts": ["calm piano"], "generation_params": {"max_new_tokens": 13}}, "audio/wav")
    assert samples(wav)[0].shape == (10 * 640, 1)
    ((key, (metadata, content_type)),) = s3.objects.items()
    assert (key, content_type) == (("out", "audio/id-1/musicgen_small_id-1_0.json"), "application/json")
    assert json.loads(metadata)["durations"] == [0.2]


def test_the_same_inference_id_writes_the_same_bytes_to_the_same_keys(model: Model, s3: Any) -> None:
    body = {"texts": ["calm piano"], "generation_params": {"max_new_tokens": 13}}
    answered(model, body)
    first = dict(s3.objects)
    answered(model, body)
    assert s3.objects == first


def test_another_inference_id_sounds_different(model: Model, s3: Any) -> None:
    body = {"texts": ["calm piano"], "generation_params": {"max_new_tokens": 13}}
    answered(model, body, inference_id="a")
    answered(model, body, inference_id="b")
    (one, _), (other, _) = s3.objects.values()
    assert one != other


def test_refuses_two_texts_for_one_audio_body_before_generating(model: Model, s3: Any) -> None:
    with pytest.raises(InvalidRequestError, match="exactly one string when Accept is audio/wav, got 2"):
        answered(model, {"texts": ["a", "b"], "generation_params": {"max_new_tokens": 1503}}, "audio/wav")
    assert s3.objects == {}


def test_refuses_a_bucket_that_is_not_the_endpoints(model: Model) -> None:
    with pytest.raises(InvalidRequestError, match='bucket_name must be one of out, elsewhere, got "models"'):
        answered(model, {"texts": ["a"], "bucket_name": "models"})


def test_refuses_a_text_of_more_tokens_than_the_model_takes(model: Model) -> None:
    with pytest.raises(InvalidRequestError, match=r"texts\[1\] must be at most 512 tokens, got \d+"):
        answered(model, {"texts": ["a", "q" * 1000]})


def test_a_refused_upload_is_a_fault_and_never_an_empty_success(model: Model, s3: Any, memory_log: Any) -> None:
    s3.failure = ClientError({"Error": {"Code": "AccessDenied"}}, "PutObject")
    invocations = Invocations(memory_log.log, 1)
    invocations.serve(inference, model)
    message = Message()
    message["Content-Type"] = "application/json"
    body = b'{"texts": ["a"], "generation_params": {"max_new_tokens": 5}}'
    answer = invocations.answer(message, lambda: body)
    assert answer.status == 500
    name = f"audio/{memory_log.events('invocation')[0]['inference_id']}/"
    error = json.loads(answer.body)["error"]
    assert error.startswith(f"the request could not be completed: s3://out/{name}")
    assert error.endswith("_0.wav must be writable, got AccessDenied")
