"""Every failure a caller can meet: one exception tree, each class with the command line's exit status."""


class MusicGenError(Exception):
    """Base of all errors of this package; `str()` is one sentence for people."""

    exit_status = 1


class InvalidRequest(MusicGenError, ValueError):
    """A field of the request has a value that the endpoint would refuse. Nothing was sent."""

    exit_status = 2


class JournalError(MusicGenError):
    """The journal cannot be read, or another process is using it."""

    exit_status = 2


class StackError(MusicGenError):
    """There is no such stack, it is half-deployed, or it is not one of this project."""

    exit_status = 3


class EndpointError(MusicGenError):
    """The endpoint does not exist or has failed."""

    exit_status = 3


class ContractError(MusicGenError):
    """The endpoint's answer has another contract than this client knows: one of the two is older."""

    exit_status = 3


class AccessError(MusicGenError):
    """AWS cannot be called: no credentials, expired ones, or a clock that is wrong."""

    exit_status = 4


class PermissionMissing(AccessError):
    """The caller may not perform an action; `action` names it as IAM does."""

    def __init__(self, message: str, action: str) -> None:
        super().__init__(message)
        self.action = action


class ServiceError(MusicGenError):
    """AWS did not answer, throttled, or failed, also after retries; the same call may succeed later."""

    exit_status = 4


class SendInDoubt(ServiceError):
    """The connection broke after a request may have been queued: await it, do not send it again."""


class RequestFailed(MusicGenError):
    """The request was queued and did not become music; the message is the container's."""


class RequestRefused(RequestFailed):
    """The container refused the request's content."""


class RequestCancelled(RequestFailed):
    """The request was cancelled by a client."""


class RequestExpired(RequestFailed):
    """The request waited longer than its time to live, or ran longer than its time limit."""

    exit_status = 5


class WaitTimeout(MusicGenError, TimeoutError):
    """The caller's patience ended; the request is still queued or running."""

    exit_status = 5


class CorruptAudio(MusicGenError):
    """The downloaded clip is not the WAV file that the response describes."""


class ExtraMissing(MusicGenError):
    """A part of this package needs an optional dependency that is not installed."""

    exit_status = 2
