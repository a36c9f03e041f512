"""The audio that a request brings: an excerpt of a file in S3 or in base64 (docs/api.md, "Audio in requests")."""

import base64
import binascii
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from musicgen_client.errors import InvalidRequest
from musicgen_client.requests.checks import check_number, read_object, shown

MAX_BODY_BYTES = 8 * 2**20  # of a request, for audio in base64
# Of all files of a request. In base64 they have a third more; all the rest of a request has at most 0.2 MB.
MAX_FILE_BYTES = (MAX_BODY_BYTES - 256 * 1024) // 4 * 3
_MAX_SECONDS = 600  # of a file, up to the excerpt's end
_FIELDS = ("audio", "start", "end")
_SOURCES = ("s3", "base64")
# Bucket names as S3 has them, and keys without control characters and lone surrogates.
_S3_URL = re.compile(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]/[^\x00-\x1f\x7f\ud800-\udfff]{1,1024}")


@dataclass(frozen=True, kw_only=True)
class Excerpt:
    """A part of an audio file, which is at an s3:// URL or given in base64; `start` and `end` are in seconds."""

    s3: str | None = None
    base64: str | None = field(default=None, repr=False)
    start: float = 0
    end: float | None = None  # the audio's end

    def check(self, field: str, max_seconds: float) -> None:
        """Raise InvalidRequest, with the container's sentence, if it would refuse this as `field` of a request."""
        audio = {name: value for name in _SOURCES if (value := getattr(self, name)) is not None}
        if len(audio) != 1:
            raise InvalidRequest(f"{field}.audio must have one of s3 and base64, got {len(audio)}")
        if self.base64 is not None:
            _check_base64(f"{field}.audio.base64", self.base64)
        elif not isinstance(cast("object", self.s3), str) or not _S3_URL.fullmatch(cast("str", self.s3)):
            raise InvalidRequest(f"{field}.audio.s3 must be s3://bucket/key, got {shown(self.s3)}")
        check_number(f"{field}.start", self.start, 0, _MAX_SECONDS, False)
        if self.end is None:
            return
        check_number(f"{field}.end", self.end, 0.02, _MAX_SECONDS, False)
        if not 0 < self.end - self.start <= max_seconds:
            allowed = f"{field}.end must be after start, by at most {max_seconds:g} s"
            raise InvalidRequest(f"{allowed}, got {shown(float(self.start))} to {shown(float(self.end))}")

    def fields(self) -> dict[str, object]:
        """Return the JSON object of a request."""
        audio = {"s3": self.s3} if self.base64 is None else {"base64": self.base64}
        start = {"start": self.start} if self.start else {}
        return {"audio": audio, **start, **({} if self.end is None else {"end": self.end})}


def encode_file(file: Path, name: str) -> str:
    """Return an audio file in base64, for a request; InvalidRequest, with its `name`, if it is too large or empty."""
    try:
        with file.open("rb") as stream:
            content = stream.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise InvalidRequest(f"{name} cannot be read: {error.strerror}") from error
    if len(content) > MAX_FILE_BYTES:
        raise _too_large(name)
    if not content:
        raise InvalidRequest(f"{name} must be an audio file, got an empty one")
    return base64.b64encode(content).decode()


def check_together(name: str, *excerpts: Excerpt | None) -> None:
    """Raise InvalidRequest, with a `name` for them all, if the files of a request are too large together."""
    if sum(len(excerpt.base64 or "") for excerpt in excerpts if excerpt) > MAX_FILE_BYTES // 3 * 4:
        raise _too_large(name)


def _too_large(what: str) -> InvalidRequest:
    return InvalidRequest(
        f"{what} must have at most {MAX_FILE_BYTES} bytes to be sent with a request, got more; upload the audio to in/ "
        "of the input bucket, and give its s3:// URL"
    )


def read_excerpt(field: str, value: object, more: tuple[str, ...] = ()) -> tuple[Excerpt, dict[str, Any]]:
    """Return the excerpt of a request's JSON object, unchecked, and its fields named in `more`."""
    given = read_object(field, value, (*_FIELDS, *more))
    if "audio" not in given:
        raise InvalidRequest(f'{field}.audio must be an object with "s3" or "base64", got nothing')
    audio = read_object(f"{field}.audio", given["audio"], _SOURCES)
    times = {name: given[name] for name in ("start", "end") if name in given}
    return Excerpt(**audio, **times), {name: given[name] for name in more if name in given}


def _check_base64(field: str, value: object) -> None:
    if not isinstance(value, str) or not value:
        raise InvalidRequest(f"{field} must be a file in base64, got {shown(value)}")
    try:
        base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError) as error:  # ValueError: characters outside ASCII
        raise InvalidRequest(f"{field} must be base64 of RFC 4648 with padding, got {shown(value)}") from error
