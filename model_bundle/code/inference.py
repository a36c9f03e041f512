"""The Hugging Face serving toolkit's four hooks. The bundle's own server calls the same four.

The toolkit hands its context to hooks that take one more argument; the request's headers are in there.
"""

import os
from pathlib import Path
from typing import Protocol

from musicgen_serving.inference_id import HEADER, inference_id_of
from musicgen_serving.json_log import JsonLog
from musicgen_serving.loading import load_model
from musicgen_serving.prediction import Model, Prediction, deliver, predict
from musicgen_serving.request import MusicRequest, parse_request
from musicgen_serving.response import content_type_of
from musicgen_serving.settings import Settings


class RequestContext(Protocol):
    """What is used of multi-model-server's context: one request's headers."""

    def get_request_header(self, idx: int, key: str) -> str | None:
        """The value of a header of request `idx`, None without it."""
        ...


def model_fn(model_dir: str) -> Model:
    """Load the model unpacked at `model_dir`, once; return only after a warm-up generation has succeeded."""
    settings = Settings.from_environment(os.environ)
    return load_model(Path(model_dir), settings, JsonLog.to(settings.log_file))


def input_fn(input_data: bytes | str, content_type: str) -> MusicRequest:
    """Read a request; RequestError says in one sentence what is wrong with it."""
    body = input_data.encode() if isinstance(input_data, str) else input_data
    return parse_request(body, content_type)


def predict_fn(data: MusicRequest, model: Model, context: RequestContext) -> Prediction:
    """Generate the request's clips."""
    content_type = content_type_of(context.get_request_header(0, "Accept") or "")
    inference_id = inference_id_of(context.get_request_header(0, HEADER))
    return predict(data, model, inference_id, content_type, getattr(context, "client_gone", None))


def output_fn(prediction: Prediction, accept: str) -> bytes:
    """Upload what goes to the bucket and return the response's body."""
    return deliver(prediction, content_type_of(accept))
