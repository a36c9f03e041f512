"""Build a response: encode and upload the clips, and describe them (docs/contracts.md, "Response" and "Keys")."""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from musicgen_serving.audio_output import AudioOutput, Tags, wav_frames, wav_header
from musicgen_serving.audio_upload import PART_BYTES, GrowingBody, Uploads
from musicgen_serving.engine.sampling_params import ClipSpec
from musicgen_serving.http.errors import MethodNotAllowedError, RequestError
from musicgen_serving.http.negotiation import JSON, WAV, RequestContext
from musicgen_serving.http.tracking import Progress
from musicgen_serving.loop import Loop

if TYPE_CHECKING:  # it imports torch, which takes seconds; the server answers /ping before
    import numpy as np
    from numpy.typing import NDArray

    from musicgen_serving.engine.codec_worker import AudioPart
    from musicgen_serving.engine.generator import GenerationResult
    from musicgen_serving.model_loading import Model

CONTRACT = 1
VERSION = (Path(__file__).parents[2] / "VERSION").read_text(encoding="utf-8").strip()


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
        return replace(cls.error(error.status, str(error)), retry_after_seconds=error.retry_after_seconds, allow=allow)

    @classmethod
    def error(cls, status: int, sentence: str, **fields: object) -> "Response":
        """Return a failure. The body has the status too: of the response, SageMaker's failure object keeps the body."""
        return cls.json(status, {"error": sentence, "status": status, **fields})

    @classmethod
    def json(cls, status: int, content: dict[str, object]) -> "Response":
        """Return a JSON response."""
        return cls(status, JSON, json.dumps(content).encode())


class Delivery:
    """A request's clips on their way out: each is encoded when it is whole, and uploaded unless the body carries it.

    The upload of a long clip begins with its first part, if nothing that was asked for needs the whole. `clips` are
    what was asked for, for tags; `progress` learns of each clip, and of the end.
    """

    def __init__(
        self, model: "Model", context: RequestContext, bucket: str, clips: Sequence[ClipSpec], output: AudioOutput,
        progress: Progress, loop: Loop | None = None,
    ) -> None:  # fmt: skip
        self._model = model
        self._loop = loop
        self._clips = clips
        self._output = output
        self._context = context
        self._bucket = bucket
        self._progress = progress
        self._uploads = Uploads(model.store)
        self._body = b""
        self._parts: dict[int, list[NDArray[np.float32]]] = {}  # of clips that are not whole yet
        self._streams: dict[int, GrowingBody] = {}
        self.durations = [0.0] * progress.clips  # seconds, in the order of the texts

    def add(self, part: "AudioPart") -> None:
        """Take the next part of a clip.

        Raises AudioError if the clip cannot be encoded, UploadError if it or an earlier one could not be uploaded.
        """
        if part.start == 0 and self._is_long(part) and (body := self._open_stream(part)):
            self._streams[part.index] = body
        if body := self._streams.get(part.index):
            self._extend(body, part)
        else:
            self._parts.setdefault(part.index, []).append(part.samples)
            if part.last:
                self._encode(part.index)
        self._progress.clips_done += part.last

    def _is_long(self, part: "AudioPart") -> bool:
        """Return whether a clip can be uploaded as it grows, and has more than a part of an upload."""
        fits = self._output.streams and self._loop is None and self._context.accept != WAV
        return fits and 2 * part.samples.shape[0] * part.total > PART_BYTES

    def _open_stream(self, part: "AudioPart") -> GrowingBody | None:
        kind, (bucket, key) = self._output.file, self._destination(part.index, self._output.file.suffix)
        body = self._uploads.stream(part.index, bucket, key, kind.content_type)
        if body:
            body.write(wav_header(part.samples.shape[0], part.total, self._model.generator.sampling_rate))
        return body

    def _extend(self, body: GrowingBody, part: "AudioPart") -> None:
        rate = self._model.generator.sampling_rate
        body.write(wav_frames(self._output.render(part.samples, rate, part.start, part.total)))
        if part.last:
            body.close()
            self.durations[part.index] = part.total / rate

    def _encode(self, index: int) -> None:
        """Encode a whole clip, and upload it or keep it as the body."""
        import numpy as np  # multi-model-server's supervisor forks after importing this module

        rate, samples = self._model.generator.sampling_rate, np.concatenate(self._parts.pop(index), axis=1)
        if self._loop:
            samples = self._loop.close(samples, rate)
        samples = self._output.render(samples, rate)
        self.durations[index] = samples.shape[1] / rate
        body = self._output.encode(samples, rate, self._tags(index))
        if self._context.accept == WAV:
            self._body = body
        else:
            self._upload(index, self._output.file.suffix, body, self._output.file.content_type)

    def finish(self, metadata: Callable[[list[str] | None, float], bytes]) -> bytes:
        """Return the response's body once everything is uploaded; UploadError if S3 fails.

        `metadata` gets the clips' URLs in the order of the texts and the seconds spent waiting for their uploads.
        For JSON its result is the body; for WAV it is uploaded, and the clip is the body.
        """
        self._progress.upload()
        try:
            body = self._finish_uploads(metadata)
        except BaseException as error:
            self._progress.end(error)
            raise
        self._progress.end()
        return body

    def _finish_uploads(self, metadata: Callable[[list[str] | None, float], bytes]) -> bytes:
        if self._context.accept == WAV:
            self._upload(0, "json", metadata(None, 0.0), JSON)
            self._uploads.finish()
            return self._body
        started = time.monotonic()
        urls = self._uploads.finish()
        return metadata(urls, time.monotonic() - started)

    def cancel(self, error: BaseException) -> None:
        """Drop uploads that have not begun or still grow, because the request has failed with `error`."""
        self._uploads.cancel(error)
        self._progress.end(error)

    def _tags(self, index: int) -> Tags | None:
        if not self._output.tags:
            return None
        checkpoint, clip = self._model.checkpoint, self._clips[index]
        texts = " / ".join(part.text for part in clip.parts if part.text)
        return Tags.of(texts, clip.seed, checkpoint.model_id, checkpoint.revision, checkpoint.license)

    def _upload(self, index: int, suffix: str, body: bytes, content_type: str) -> None:
        self._uploads.start(index, *self._destination(index, suffix), body, content_type)

    def _destination(self, index: int, suffix: str) -> tuple[str, str]:
        """Return the bucket and key of clip `index`, of a name that no other request's file has.

        The AWS sample's downloader skips names that it already has.
        """
        inference_id = self._context.inference_id
        name = f"musicgen_{self._model.checkpoint.size}_{inference_id}_{index}.{suffix}"
        return self._bucket, f"audio/{inference_id}/{name}"


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """A request whose clips are generated, and uploaded or about to be."""

    model: "Model"
    context: RequestContext
    delivery: Delivery
    seeds: list[int]
    result: "GenerationResult"
    generate_seconds: float
    return_tokens: bool = False

    @property
    def summary(self) -> dict[str, object]:
        """The fields that the request's log line reports."""
        return {
            "model": self.model.checkpoint.model_id,
            "revision": self.model.checkpoint.revision,
            "seeds": self.seeds,
            "audio_seconds": sum(self.delivery.durations),
            "clips_in_flight": self.result.max_in_flight,
            "queued_seconds": round(self.result.queued_seconds, 3),
            "generate_seconds": round(self.generate_seconds, 3),
        }

    def deliver(self) -> bytes:
        """Return the response's body once everything is uploaded; UploadError if S3 fails."""
        return self.delivery.finish(lambda urls, seconds: json.dumps(self._metadata(urls, seconds)).encode())

    def _metadata(self, urls: list[str] | None, upload_seconds: float) -> dict[str, object]:
        return {
            "contract": CONTRACT,
            "version": VERSION,
            **({} if urls is None else {"generated_outputs_s3": urls}),
            "seeds": self.seeds,
            "durations": self.delivery.durations,
            **({"tokens": [codes.tolist() for codes in self.result.codes]} if self.return_tokens else {}),
            "sampling_rate": self.model.generator.sampling_rate,
            "channels": self.model.generator.channels,
            "model": self.model.checkpoint.model_id,
            "revision": self.model.checkpoint.revision,
            "inference_id": self.context.inference_id,
            "clips_in_flight": self.result.max_in_flight,
            "timings": {
                "generate_seconds": round(self.generate_seconds, 3),
                "upload_seconds": round(upload_seconds, 3),
            },
        }
