"""Errors that a client sees: refusals with their HTTP status, and the mapping of the engine's errors to them."""

from musicgen_serving.audio_download import DownloadError
from musicgen_serving.audio_output import AudioError
from musicgen_serving.audio_upload import UploadError
from musicgen_serving.engine.errors import (
    EngineError,
    MelodyUnsupportedError,
    PromptTooLongError,
    RequestAbandonedError,
    RequestCancelledError,
    UnavailableError,
)

PUBLIC_FAULTS = (
    EngineError,
    AudioError,
    DownloadError,
    UploadError,
)  # failures with status 500 whose message the client may see


class RequestError(Exception):
    """Base class of refusals; `str(error)` is one sentence for the client."""

    status: int
    retry_after_seconds: int | None = None


class ProtocolError(RequestError):
    """A request that is not HTTP/1.1 as RFC 9112 has it, or too large."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


class MalformedBodyError(RequestError):
    status = 400


class NotFoundError(RequestError):
    status = 404


class MethodNotAllowedError(RequestError):
    """Another method than the path's; `allow` is that one."""

    status = 405

    def __init__(self, path: str, allow: str) -> None:
        super().__init__(f"method must be {allow} for {path}")
        self.allow = allow


class NotAcceptableError(RequestError):
    status = 406


class RequestTimeoutError(RequestError):
    """The client did not send its request in time."""

    status = 408


class CancelledRequestError(RequestError):
    """The client asked for the request to be cancelled (tracking.py).

    A registered status below 500: SageMaker makes a failure object of it, and neither it nor a client should retry.
    """

    status = 409


class BodyTooLargeError(RequestError):
    status = 413


class UnsupportedContentTypeError(RequestError):
    status = 415


class InvalidRequestError(RequestError):
    status = 422


class ClientClosedRequestError(RequestError):
    """The client disconnected before its clips were finished; the status only appears in the log."""

    status = 499


class ServiceUnavailableError(RequestError):
    """The model is still loading, or the instance is at capacity."""

    status = 503
    retry_after_seconds = 5


def translate_engine_error(error: Exception) -> Exception:
    """Return the refusal that an engine error stands for, or the error unchanged if it is a fault."""
    match error:
        case PromptTooLongError():
            field = f"sections[{error.index}].text" if error.section else f"texts[{error.index}]"
            field = "negative_prompt" if error.index is None else field
            return InvalidRequestError(f"{field} must be at most {error.limit} tokens, got {error.tokens}")
        case MelodyUnsupportedError():
            return InvalidRequestError(str(error))
        case UnavailableError():
            return ServiceUnavailableError(str(error))
        case RequestAbandonedError():
            return ClientClosedRequestError(str(error))
        case RequestCancelledError():
            return CancelledRequestError(str(error))
        case _:
            return error
