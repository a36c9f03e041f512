"""An invocation from its headers and body to an answer: the four hooks, and a status for everything that can happen."""

import json
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from email.message import Message
from types import TracebackType
from typing import TYPE_CHECKING, Protocol

from musicgen_serving.errors import FaultError, NoRoomError, RequestError
from musicgen_serving.inference_id import HEADER, inference_id_of
from musicgen_serving.json_log import JsonLog
from musicgen_serving.request import MusicRequest, check_content_type
from musicgen_serving.response import JSON, content_type_of

if TYPE_CHECKING:  # they import torch, which takes seconds; the server answers /ping before
    from musicgen_serving.prediction import Model, Prediction


class Hooks(Protocol):
    """The module `inference`."""

    def input_fn(self, input_data: bytes | str, content_type: str) -> MusicRequest: ...
    def predict_fn(self, data: MusicRequest, model: "Model", context: "Headers") -> "Prediction": ...
    def output_fn(self, prediction: "Prediction", accept: str) -> bytes: ...


@dataclass(frozen=True)
class Answer:
    """What goes back to the client."""

    status: int
    content_type: str
    body: bytes
    retry_after_seconds: int | None = None


class Headers:
    """One request's headers, as the hooks ask for them; the inference id is settled once."""

    def __init__(self, message: Message, inference_id: str, client_gone: Callable[[], bool] | None = None) -> None:
        self.client_gone = client_gone
        self._message = message
        self._inference_id = inference_id

    def get_request_header(self, idx: int, key: str) -> str | None:
        """The value of a header, None without it."""
        del idx  # there is one request
        return self._inference_id if key == HEADER else self._message.get(key)


class _Slots(AbstractContextManager[None]):
    """As many requests as may be in flight; one more is refused at once, because the queue is SageMaker's."""

    def __init__(self, count: int) -> None:
        self._free = threading.BoundedSemaphore(count)
        self._count = count

    def __enter__(self) -> None:
        if not self._free.acquire(blocking=False):
            raise NoRoomError(f"requests in flight must be at most {self._count}, got one more")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._free.release()


class Invocations:
    """Answers requests, from `serve` on with more than a refusal."""

    def __init__(self, log: JsonLog, max_concurrent_requests: int) -> None:
        self._log = log
        self._slots = _Slots(max_concurrent_requests)
        self._serving: tuple[Hooks, Model] | None = None

    def serve(self, hooks: Hooks, model: "Model") -> None:
        """Take requests: the model is loaded, and a generation has succeeded."""
        self._serving = (hooks, model)

    @property
    def ready(self) -> bool:
        """Whether requests are taken."""
        return self._serving is not None

    def answer(
        self, headers: Message, read_body: Callable[[], bytes], client_gone: Callable[[], bool] | None = None
    ) -> Answer:
        """Answer one invocation; never raises, whatever the request holds."""
        started = time.monotonic()
        inference_id, details = "", dict[str, object]()
        try:
            inference_id = inference_id_of(headers.get(HEADER))
            answer = self._run(Headers(headers, inference_id, client_gone), headers, read_body, details)
        except RequestError as error:
            answer = _refusal(error)
        except Exception as error:
            answer = self._fault(error, inference_id)
        seconds = round(time.monotonic() - started, 3)
        self._log.write("invocation", inference_id=inference_id, status=answer.status, seconds=seconds, **details)
        return answer

    def _run(
        self, context: Headers, headers: Message, read_body: Callable[[], bytes], details: dict[str, object]
    ) -> Answer:
        """Run the hooks; `details` takes what the log shall say of the request, also when delivery fails."""
        if self._serving is None:
            raise NoRoomError("the model must have loaded before it can generate, got a request while it loads")
        hooks, model = self._serving
        with self._slots:
            content_type = headers.get("Content-Type", "")
            check_content_type(content_type)
            accept = content_type_of(headers.get("Accept", ""))
            request = hooks.input_fn(read_body(), content_type)
            prediction = hooks.predict_fn(request, model, context)
            details |= prediction.summary
            return Answer(200, accept, hooks.output_fn(prediction, accept))

    def _fault(self, error: Exception, inference_id: str) -> Answer:
        error_id = str(uuid.uuid4())
        self._log.exception("fault", error, error_id=error_id, inference_id=inference_id)
        reason = str(error) if isinstance(error, FaultError) else type(error).__name__
        sentence = f"the request could not be completed: {reason}"
        return Answer(500, JSON, json.dumps({"error": sentence, "error_id": error_id}).encode())


def _refusal(error: RequestError) -> Answer:
    return Answer(error.status, JSON, json.dumps({"error": str(error)}).encode(), error.retry_after_seconds)
