"""Staging errors. CloudFormation shows the messages to users."""


class StagingError(Exception):
    """The request cannot be staged; retrying does not help."""


class StalledError(StagingError):
    """An operation made no progress for too long; a later invocation may succeed."""


class TransientError(Exception):
    """One attempt failed and may be retried; `retry_after_s` is the wait that the server requests, in seconds."""

    def __init__(self, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class OutOfTimeError(Exception):
    """The invocation is close to its deadline. The journal allows another one to continue."""


class ConflictError(Exception):
    """The precondition of a conditional write failed."""


class UploadGoneError(Exception):
    """A multipart upload no longer exists: another run, or an attempt whose reply was lost, ended it."""


class SupersededError(Exception):
    """Another run or a later request owns this work: stop without a response to CloudFormation."""


class LossyCastError(Exception):
    """Tensors, by name, that float16 cannot represent exactly and that must stay float32."""

    def __init__(self, names: list[str]) -> None:
        super().__init__(f"not lossless in float16: {', '.join(names)}")
        self.names = names
