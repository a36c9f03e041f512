"""How staging can end other than well. Every message is one sentence that CloudFormation shows to people."""


class StagingError(Exception):
    """Final: this request cannot be staged. Trying again changes nothing."""


class TransientError(Exception):
    """One attempt failed in a way that a later attempt may not.

    `retry_after_s` is how long the other side asked to be left alone, in seconds, if it did.
    """

    def __init__(self, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class OutOfTimeError(Exception):
    """The invocation nears its deadline; what was done so far is safe."""
