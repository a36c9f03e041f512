"""Answer an invocation: run the hooks of `inference.py`, and turn whatever happens into a response and a log line."""

import threading
import time
import uuid
from collections.abc import Callable, Generator
from contextlib import contextmanager
from email.message import Message
from typing import TYPE_CHECKING, Protocol

from musicgen_serving.http.errors import PUBLIC_FAULTS, RequestError, ServiceUnavailableError, translate_engine_error
from musicgen_serving.http.negotiation import (
    INFERENCE_ID_HEADER,
    RequestContext,
    check_content_type,
    parse_accept,
    parse_inference_id,
)
from musicgen_serving.http.request import MusicRequest
from musicgen_serving.http.response import Prediction, Response
from musicgen_serving.json_log import JsonLog

if TYPE_CHECKING:  # it imports torch, which takes seconds; the server answers /ping before
    from musicgen_serving.model_loading import Model


class Hooks(Protocol):
    """The module `inference`."""

    def input_fn(self, input_data: bytes | str, content_type: str) -> MusicRequest: ...
    def predict_fn(self, data: MusicRequest, model: "Model", context: RequestContext) -> Prediction: ...
    def output_fn(self, prediction: Prediction, accept: str) -> bytes: ...


class Invocations:
    """Answers invocations; until `serve` is called each is refused with 503."""

    def __init__(self, log: JsonLog, max_concurrent_requests: int) -> None:
        self._log = log
        self.max_concurrent_requests = max_concurrent_requests
        self._free = threading.BoundedSemaphore(max_concurrent_requests)
        self._serving: tuple[Hooks, Model] | None = None
        self._healthy: Callable[[], bool] = lambda: True

    def serve(self, hooks: Hooks, model: "Model", healthy: Callable[[], bool] = lambda: True) -> None:
        """Start taking requests: the model is loaded, its warm-up has succeeded, and `healthy` says if it still works.

        `healthy` is called for every /ping, so it must be quick and never wait.
        """
        self._healthy = healthy
        self._serving = (hooks, model)

    @property
    def ready(self) -> bool:
        """Whether a request can be expected to finish: the model is loaded, and neither dead, stopped nor hung."""
        return self._serving is not None and self._healthy()

    def answer(
        self, headers: Message, read_body: Callable[[], bytes], client_gone: Callable[[], bool] | None = None
    ) -> Response:
        """Answer one invocation and log it; never raises."""
        started = time.monotonic()
        inference_id, details = "", dict[str, object]()
        try:
            inference_id = parse_inference_id(headers.get(INFERENCE_ID_HEADER))
            with self._admission() as (hooks, model):
                content_type = headers.get("Content-Type", "")
                check_content_type(content_type)
                context = RequestContext(parse_accept(headers.get("Accept", "")), inference_id, client_gone)
                request = hooks.input_fn(read_body(), content_type)
                prediction = hooks.predict_fn(request, model, context)
                details = prediction.summary  # logged even if the upload fails
                response = Response(200, context.accept, hooks.output_fn(prediction, context.accept))
        except Exception as error:
            response = self._error_response(translate_engine_error(error), inference_id)
        seconds = round(time.monotonic() - started, 3)
        self._log.write("invocation", inference_id=inference_id, status=response.status, seconds=seconds, **details)
        return response

    @contextmanager
    def _admission(self) -> Generator[tuple[Hooks, "Model"]]:
        """Hold one of the concurrent requests; refuse instead of waiting, because the queue is SageMaker's."""
        if self._serving is None:
            raise ServiceUnavailableError("model is still loading; retry")
        if not self._free.acquire(blocking=False):
            raise ServiceUnavailableError(f"too many concurrent requests (limit {self.max_concurrent_requests})")
        try:
            yield self._serving
        finally:
            self._free.release()

    def _error_response(self, error: Exception, inference_id: str) -> Response:
        """Return a refusal's status and sentence; log anything else as a fault with an id, and return 500."""
        if isinstance(error, RequestError):
            return Response.refusal(error)
        error_id = str(uuid.uuid4())
        self._log.exception("fault", error, error_id=error_id, inference_id=inference_id)
        reason = str(error) if isinstance(error, PUBLIC_FAULTS) else type(error).__name__
        return Response.error(500, f"the request could not be completed: {reason}", error_id=error_id)
