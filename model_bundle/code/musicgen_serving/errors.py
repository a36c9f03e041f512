"""What can go wrong with a request: refusals, each with its HTTP status, and faults; either with one sentence."""


class RequestError(Exception):
    """A request that is refused; `status` is the HTTP status, the text is one sentence for the client."""

    status = 422
    retry_after_seconds: int | None = None


class InvalidRequestError(RequestError):
    """A field's value is not allowed."""


class MalformedBodyError(RequestError):
    """The body cannot be read as a JSON object."""

    status = 400


class NotAcceptableError(RequestError):
    """The `Accept` header names nothing that is served."""

    status = 406


class BodyTooLargeError(RequestError):
    """The body is longer than the limit."""

    status = 413


class ContentTypeError(RequestError):
    """The body is of a type that is not read."""

    status = 415


class NoRoomError(RequestError):
    """As many requests as the instance may hold are in flight, or the model is not ready yet."""

    status = 503
    retry_after_seconds = 5


class AbandonedError(RequestError):
    """The client closed its connection before its clips were made; the status is for the log, nobody reads it."""

    status = 499


class FaultError(Exception):
    """A fault whose sentence may be shown to the client, with status 500."""


class NotFiniteError(FaultError):
    """The model computed something that is not a number; the clip is worthless."""


class UploadError(FaultError):
    """An object could not be written."""
