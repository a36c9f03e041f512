"""How long the clips of a request are, and the container's limits to that (docs/api.md, "Long pieces and sections")."""

from typing import TYPE_CHECKING

from musicgen_client.errors import InvalidRequest

if TYPE_CHECKING:
    from musicgen_client.requests.request import Request

MAX_SECONDS = 300  # of a clip
MAX_REQUEST_SECONDS = 600  # of all clips of a request
_FRAMES_PER_SECOND = 50
_DELAY_TOKENS = 3  # of the delay pattern: so many of `max_new_tokens` give no frame
_DEFAULT_TOKENS = 256  # of a request that says no length; docs/request.schema.json
_BEATS_PER_BAR = 4
_JOIN_SECONDS = 0.1  # that a loop has more, to blend its end into its start


def clip_frames(request: "Request") -> int:
    """Return the frames that the container generates for each clip, 50 per second."""
    if request.sections:
        return sum(_frames(section.duration) for section in request.sections)
    if request.loop:
        return -int(-(_loop_seconds(request) + _JOIN_SECONDS) * _FRAMES_PER_SECOND // 1)
    if request.duration is not None:
        return _frames(request.duration)
    return int(request.max_new_tokens or _DEFAULT_TOKENS) - _DELAY_TOKENS


def check_lengths(request: "Request") -> None:
    """Raise InvalidRequest, with the container's sentence, if a clip or all together would be too long."""
    frames = clip_frames(request)
    longest = _loop_seconds(request) if request.loop else frames / _FRAMES_PER_SECOND
    if longest > MAX_SECONDS:
        what = "bars and bpm" if request.loop else "sections"
        raise InvalidRequest(f"{what} must give at most {MAX_SECONDS} s, got {longest:g} s")
    if request.clips > max_clips(request):
        seconds = frames / _FRAMES_PER_SECOND
        raise InvalidRequest(
            f"a request must be for at most {MAX_REQUEST_SECONDS} s of audio, got {request.clips} clips of "
            f"{seconds:g} s"
        )


def max_clips(request: "Request") -> int:
    """Return how many clips of this length a request may ask for, at least one, were it not for their number."""
    return MAX_REQUEST_SECONDS * _FRAMES_PER_SECOND // clip_frames(request)


def _frames(seconds: float) -> int:
    return max(1, round(seconds * _FRAMES_PER_SECOND))


def _loop_seconds(request: "Request") -> float:
    return (request.bars or 0) * _BEATS_PER_BAR * 60 / (request.bpm or 1)
