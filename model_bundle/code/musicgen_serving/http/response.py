"""Build a response: encode and upload the clips, and describe them (docs/contracts.md, "Response" and "Keys")."""

import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from musicgen_serving.audio_upload import wav_bytes
from musicgen_serving.http.errors import MethodNotAllowedError, RequestError
from musicgen_serving.http.request import JSON, WAV, RequestContext

if TYPE_CHECKING:  # it imports torch, which takes seconds; the server answers /ping before
    from musicgen_serving.engine.generator import GenerationResult
    from musicgen_serving.model_loading import Model

CONTRACT = 1


@dataclass(frozen=True)
class Response:
    """An HTTP response."""

    status: int
    content_type: str
    body: bytes
    retry_after_seconds: int | None = None
    allow: str | None = None

    @property
    def extra_headers(self) -> list[tuple[str, str]]:
        """The headers that only some responses have."""
        retry_after = "" if self.retry_after_seconds is None else str(self.retry_after_seconds)
        return [item for item in (("Retry-After", retry_after), ("Allow", self.allow or "")) if item[1]]

    @classmethod
    def refusal(cls, error: RequestError) -> "Response":
        """Return the response to a refused request: its status, and one sentence."""
        allow = error.allow if isinstance(error, MethodNotAllowedError) else None
        return cls(error.status, JSON, json.dumps({"error": str(error)}).encode(), error.retry_after_seconds, allow)

    @classmethod
    def json(cls, status: int, content: dict[str, object], retry_after_seconds: int | None = None) -> "Response":
        """Return a JSON response."""
        return cls(status, JSON, json.dumps(content).encode(), retry_after_seconds)


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """A request's generated clips, before they are encoded and uploaded."""

    model: "Model"
    context: RequestContext
    bucket: str
    seeds: list[int]
    result: "GenerationResult"
    generate_seconds: float

    @property
    def durations(self) -> list[float]:
        """The clips' lengths in seconds."""
        return [clip.shape[1] / self.model.generator.sampling_rate for clip in self.result.clips]

    @property
    def summary(self) -> dict[str, object]:
        """The fields that the request's log line reports."""
        return {
            "model": self.model.checkpoint.model_id,
            "revision": self.model.checkpoint.revision,
            "seeds": self.seeds,
            "audio_seconds": sum(self.durations),
            "clips_in_flight": self.result.max_in_flight,
            "queued_seconds": round(self.result.queued_seconds, 3),
            "generate_seconds": round(self.generate_seconds, 3),
        }

    def deliver(self) -> bytes:
        """Return the response's body, and upload the other half; UploadError if S3 fails.

        For JSON the body is the metadata and the audio is uploaded; for WAV it is the other way round.
        """
        clips = [wav_bytes(clip, self.model.generator.sampling_rate) for clip in self.result.clips]
        if self.context.accept == WAV:
            self._upload(0, "json", json.dumps(self._metadata(None, 0.0)).encode(), JSON)
            return clips[0]
        started = time.monotonic()
        urls = [self._upload(index, "wav", clip, WAV) for index, clip in enumerate(clips)]
        return json.dumps(self._metadata(urls, time.monotonic() - started)).encode()

    def _upload(self, index: int, suffix: str, body: bytes, content_type: str) -> str:
        # The name is unique among all requests: the AWS sample's downloader skips names that it already has.
        inference_id = self.context.inference_id
        name = f"musicgen_{self.model.checkpoint.size}_{inference_id}_{index}.{suffix}"
        return self.model.store.put(self.bucket, f"audio/{inference_id}/{name}", body, content_type)

    def _metadata(self, urls: list[str] | None, upload_seconds: float) -> dict[str, object]:
        return {
            "contract": CONTRACT,
            **({} if urls is None else {"generated_outputs_s3": urls}),
            "seeds": self.seeds,
            "durations": self.durations,
            "sampling_rate": self.model.generator.sampling_rate,
            "model": self.model.checkpoint.model_id,
            "revision": self.model.checkpoint.revision,
            "inference_id": self.context.inference_id,
            "clips_in_flight": self.result.max_in_flight,
            "timings": {
                "generate_seconds": round(self.generate_seconds, 3),
                "upload_seconds": round(upload_seconds, 3),
            },
        }
