"""The Hugging Face toolkit's four hooks; `musicgen_serving.http` calls them too.

The toolkit passes its own context to hooks that take one more argument; it gives access to the request's headers.
"""

import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from musicgen_serving.engine.errors import MelodyUnsupportedError
from musicgen_serving.http.negotiation import INFERENCE_ID_HEADER, RequestContext, parse_accept, parse_inference_id
from musicgen_serving.http.request import MusicRequest, parse_request
from musicgen_serving.http.response import Delivery, Prediction
from musicgen_serving.http.tracking import Progress
from musicgen_serving.json_log import JsonLog
from musicgen_serving.model_loading import Model, load_model
from musicgen_serving.settings import Settings


class ToolkitContext(Protocol):
    """The one method of multi-model-server's context that is used."""

    def get_request_header(self, idx: int, key: str) -> str | None: ...


def model_fn(model_dir: str) -> Model:
    """Load the model unpacked at `model_dir`; return once a warm-up generation has succeeded."""
    settings = Settings.from_environment(os.environ)
    return load_model(Path(model_dir), settings, JsonLog.to(settings.log_file))


def input_fn(input_data: bytes | str, content_type: str | None) -> MusicRequest:
    """Parse the request's body; RequestError with one sentence if it is invalid.

    The toolkit passes None if the request has no Content-Type.
    """
    return parse_request(input_data.encode() if isinstance(input_data, str) else input_data, content_type or "")


def predict_fn(data: MusicRequest, model: Model, context: RequestContext | ToolkitContext) -> Prediction:
    """Generate the request's clips and start to upload each as it finishes, if the result can be delivered.

    If the request asks for it, its progress is written to S3 and its cancellation looked for. Raises
    InvalidRequestError, AudioError, DownloadError, UploadError, or an EngineError.
    """
    if not isinstance(context, RequestContext):
        accept = parse_accept(context.get_request_header(0, "Accept") or "")
        context = RequestContext(accept, parse_inference_id(context.get_request_header(0, INFERENCE_ID_HEADER)))
    data.check_accept(context.accept)
    data.prompt.check_length(data.params)
    data.check_format()
    if data.melody and not model.generator.follows_melodies:
        raise MelodyUnsupportedError(model.checkpoint.model_id)
    bucket = data.bucket(model.store.buckets)
    clips = data.clip_specs(context.inference_id)
    progress = Progress(context.inference_id, bucket, len(clips))
    delivery = Delivery(model, context, bucket, clips, data.output, progress, data.prompt.loop)
    try:
        if data.progress:
            model.tracker.follow(progress)
        if continuation := data.continuation:
            prompt = model.audio_input.load(continuation.excerpt)
            clips = [replace(clip, prompt=prompt, return_prompt=continuation.return_excerpt) for clip in clips]
        if data.melody:
            melody = model.audio_input.load(data.melody)
            clips = [replace(clip, melody=melody) for clip in clips]
        started = time.monotonic()
        result = model.generator.generate(clips, context.client_gone, delivery.add, progress.observe)
    except BaseException as error:
        delivery.cancel(error)
        raise
    return Prediction(
        model=model,
        context=context,
        delivery=delivery,
        seeds=[clip.seed for clip in clips],
        result=result,
        generate_seconds=time.monotonic() - started - result.queued_seconds,
        return_tokens=data.return_tokens,
    )


def output_fn(prediction: Prediction, accept: str) -> bytes:
    """Return the response's body once all is uploaded; `accept` was parsed into the prediction's context."""
    del accept
    return prediction.deliver()
