"""Parse the fields of a request that bring audio: `{"audio": {"s3" or "base64"}, "start": s, "end": s}`."""

import base64
import binascii
import re
from collections.abc import Mapping

from musicgen_serving.audio_input import MAX_SECONDS, AudioReference
from musicgen_serving.http.errors import InvalidRequestError
from musicgen_serving.http.fields import Range, parse_object, shown

EXCERPT_FIELDS = ("audio", "start", "end")
# Bucket names as S3 has them, and keys without control characters and lone surrogates.
_S3_URL = re.compile(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]/[^\x00-\x1f\x7f\ud800-\udfff]{1,1024}")
_START, _END = Range(0, MAX_SECONDS), Range(0.02, MAX_SECONDS)


def parse_excerpt(field: str, fields: Mapping[str, object], max_seconds: float) -> AudioReference:
    """Return the excerpt of the audio that `fields`, those of `field`, name; it may have up to `max_seconds`.

    Raises InvalidRequestError, also for an excerpt that is empty or longer. Without an end that shows on loading.
    """
    s3, data = _parse_audio(f"{field}.audio", fields)
    start = _START.parse(f"{field}.start", fields.get("start", 0))
    end = _END.parse(f"{field}.end", fields["end"]) if "end" in fields else None
    if end is not None and not 0 < end - start <= max_seconds:
        allowed = f"{field}.end must be after start, by at most {max_seconds:g} s"
        raise InvalidRequestError(f"{allowed}, got {shown(start)} to {shown(end)}")
    return AudioReference(field=field, max_seconds=max_seconds, s3=s3, data=data, start=start, end=end)


def _parse_audio(field: str, fields: Mapping[str, object]) -> tuple[str | None, bytes]:
    """Return the audio's URL, or None and the bytes of a file."""
    if "audio" not in fields:
        raise InvalidRequestError(f'{field} must be an object with "s3" or "base64", got nothing')
    audio = parse_object(field, fields["audio"], ("s3", "base64"))
    if len(audio) != 1:
        raise InvalidRequestError(f"{field} must have one of s3 and base64, got {len(audio)}")
    ((name, value),) = audio.items()
    if name == "base64":
        return None, _parse_base64(f"{field}.base64", value)
    if not isinstance(value, str) or not _S3_URL.fullmatch(value):
        raise InvalidRequestError(f"{field}.s3 must be s3://bucket/key, got {shown(value)}")
    return value, b""


def _parse_base64(field: str, value: object) -> bytes:
    if not isinstance(value, str) or not value:
        raise InvalidRequestError(f"{field} must be a file in base64, got {shown(value)}")
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError) as error:  # ValueError: characters outside ASCII
        raise InvalidRequestError(f"{field} must be base64 of RFC 4648 with padding, got {shown(value)}") from error
