"""The answer's form: which type `Accept` asks for, and the metadata that goes with the audio."""

from musicgen_serving.errors import InvalidRequestError, NotAcceptableError
from musicgen_serving.parameters import shown

JSON = "application/json"
WAV = "audio/wav"
CONTRACT = 1
_SERVED = {"": JSON, "*/*": JSON, "application/*": JSON, JSON: JSON, "audio/*": WAV, WAV: WAV}


def content_type_of(accept: str) -> str:
    """The first type in an `Accept` header that is served; NotAcceptableError where none is."""
    for choice in accept.split(","):
        wanted = choice.split(";")[0].strip().lower()
        if wanted in _SERVED:
            return _SERVED[wanted]
    raise NotAcceptableError(f"Accept must be {JSON} or {WAV}, got {shown(accept)}")


def check_count(content_type: str, texts: int) -> None:
    """Refuse several texts where the body can hold one clip only."""
    if content_type == WAV and texts != 1:
        raise InvalidRequestError(f"texts must have exactly one string when Accept is {WAV}, got {texts}")
