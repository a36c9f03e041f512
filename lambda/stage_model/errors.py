"""How staging can end other than well. Every message is one sentence that CloudFormation may show to people."""


class StagingError(Exception):
    """Final: this request cannot be staged. Trying again changes nothing."""


class StalledError(StagingError):
    """Nothing has moved for so long that this run gives up; for another one it may."""


class TransientError(Exception):
    """One attempt failed in a way that a later attempt may not.

    `retry_after_s` is how long the other side asked to be left alone, in seconds, if it did.
    """

    def __init__(self, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class OutOfTimeError(Exception):
    """The invocation nears its deadline; what was done so far is safe."""


class ConflictError(Exception):
    """A conditional write found another object than it expected."""


class UploadGoneError(Exception):
    """A multipart upload no longer exists: an attempt whose answer was lost, or another run, ended it."""


class SupersededError(Exception):
    """Another run has this request, or a later request has ended it: stop, and say nothing to CloudFormation."""


class LossyCastError(Exception):
    """Tensors, by name, whose float16 would not give back every bit: they must be kept in float32."""

    def __init__(self, names: list[str]) -> None:
        super().__init__(f"not lossless in float16: {', '.join(names)}")
        self.names = names
