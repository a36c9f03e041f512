"""One request from checked fields to delivered audio: generate, upload, answer."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from musicgen_serving.audio import wav_bytes
from musicgen_serving.checkpoint import Checkpoint
from musicgen_serving.engine.errors import (
    EngineError,
    NonFiniteError,
    PromptTooLongError,
    RequestAbandonedError,
    UnavailableError,
)
from musicgen_serving.engine.generator import GenerationResult, Generator
from musicgen_serving.engine.sampling_params import ClipSpec
from musicgen_serving.errors import AbandonedError, FaultError, InvalidRequestError, NoRoomError, NotFiniteError
from musicgen_serving.inference_id import seeds_of
from musicgen_serving.request import MusicRequest
from musicgen_serving.response import CONTRACT, WAV, check_count
from musicgen_serving.store import AudioStore


@dataclass(frozen=True)
class Model:
    """What serves requests: loaded once, shared by all of them."""

    checkpoint: Checkpoint
    generator: Generator
    store: AudioStore


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """A request's clips [channels, samples] with what the answer says of them."""

    model: Model
    bucket: str
    inference_id: str
    seeds: list[int]
    clips: list[NDArray[np.float32]]
    queued_seconds: float
    clips_in_flight: int
    generate_seconds: float

    @property
    def summary(self) -> dict[str, object]:
        """What the log says of the request."""
        checkpoint = self.model.checkpoint
        return {
            "model": checkpoint.model_id,
            "revision": checkpoint.revision,
            "seeds": self.seeds,
            "audio_seconds": sum(self.durations),
            "clips_in_flight": self.clips_in_flight,
            "queued_seconds": round(self.queued_seconds, 3),
            "generate_seconds": round(self.generate_seconds, 3),
        }

    @property
    def durations(self) -> list[float]:
        """The clips' lengths in seconds."""
        return [clip.shape[1] / self.model.generator.sampling_rate for clip in self.clips]


def predict(
    request: MusicRequest,
    model: Model,
    inference_id: str,
    content_type: str,
    client_gone: Callable[[], bool] | None = None,
) -> Prediction:
    """Generate a clip for each text, side by side; what cannot be delivered is refused before any is made."""
    check_count(content_type, len(request.texts))
    bucket = model.store.bucket(request.bucket_name)
    seeds = seeds_of(inference_id, request.params.seed, len(request.texts))
    started = time.monotonic()
    wanted = [ClipSpec(text, seed, request.params) for text, seed in zip(request.texts, seeds, strict=True)]
    made = _generate(model.generator, wanted, client_gone)
    return Prediction(
        model=model,
        bucket=bucket,
        inference_id=inference_id,
        seeds=seeds,
        clips=made.clips,
        queued_seconds=made.queued_seconds,
        clips_in_flight=made.max_in_flight,
        generate_seconds=time.monotonic() - started - made.queued_seconds,
    )


def _generate(generator: Generator, clips: list[ClipSpec], client_gone: Callable[[], bool] | None) -> GenerationResult:
    """Generate clips, with the engine's errors as this service's."""
    try:
        return generator.generate(clips, client_gone)
    except PromptTooLongError as error:
        reason = f"texts[{error.index}] must be at most {error.limit} tokens, got {error.tokens}"
        raise InvalidRequestError(reason) from error
    except UnavailableError as error:
        raise NoRoomError(str(error)) from error
    except RequestAbandonedError as error:
        raise AbandonedError(str(error)) from error
    except NonFiniteError as error:
        raise NotFiniteError(str(error)) from error
    except EngineError as error:
        raise FaultError(str(error)) from error


def deliver(prediction: Prediction, content_type: str) -> bytes:
    """Upload and answer: the metadata, its audio in the bucket; or the audio, its metadata in the bucket."""
    model = prediction.model
    audio = [wav_bytes(clip, model.generator.sampling_rate) for clip in prediction.clips]
    if content_type == WAV:
        body = json.dumps(_metadata(prediction, None, 0.0)).encode()
        model.store.put(
            prediction.bucket, prediction.inference_id, _name(prediction, 0, "json"), body, "application/json"
        )
        return audio[0]
    started = time.monotonic()
    addresses = [
        model.store.put(prediction.bucket, prediction.inference_id, _name(prediction, index, "wav"), body, WAV)
        for index, body in enumerate(audio)
    ]
    return json.dumps(_metadata(prediction, addresses, time.monotonic() - started)).encode()


def _name(prediction: Prediction, index: int, suffix: str) -> str:
    """An object's name, unique among all requests: the AWS sample's downloader skips names that it has seen."""
    return f"musicgen_{prediction.model.checkpoint.size}_{prediction.inference_id}_{index}.{suffix}"


def _metadata(prediction: Prediction, addresses: list[str] | None, upload_seconds: float) -> dict[str, object]:
    model = prediction.model
    return {
        "contract": CONTRACT,
        **({} if addresses is None else {"generated_outputs_s3": addresses}),
        "seeds": prediction.seeds,
        "durations": prediction.durations,
        "sampling_rate": model.generator.sampling_rate,
        "model": model.checkpoint.model_id,
        "revision": model.checkpoint.revision,
        "inference_id": prediction.inference_id,
        "clips_in_flight": prediction.clips_in_flight,
        "timings": {
            "generate_seconds": round(prediction.generate_seconds, 3),
            "upload_seconds": round(upload_seconds, 3),
        },
    }
