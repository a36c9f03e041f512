"""A request's headers: which id and types it names (RFC 9110), and what the connection says of its client."""

import re
import uuid
from collections.abc import Callable
from dataclasses import dataclass

from musicgen_serving.http.errors import InvalidRequestError, NotAcceptableError, UnsupportedContentTypeError
from musicgen_serving.http.fields import shown

INFERENCE_ID_HEADER = "X-Amzn-SageMaker-Inference-Id"
JSON = "application/json"
WAV = "audio/wav"
# What a client sends that names no type: the SageMaker SDK's AsyncPredictor, and S3 for an object uploaded without one.
UNNAMED = ("", "application/octet-stream", "binary/octet-stream")
_QUALITY = re.compile(r"0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?")


@dataclass(frozen=True)
class RequestContext:
    """What a request's headers and connection say: the response's content type, the id, and a check for disconnects."""

    accept: str
    inference_id: str
    client_gone: Callable[[], bool] | None = None


def parse_inference_id(header: str | None) -> str:
    """Return the id from the header, or a new one; InvalidRequestError if it cannot be part of an S3 key."""
    if not header:
        return str(uuid.uuid4())
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", header):
        allowed = "1 to 64 letters, digits, dots, dashes and underscores, a letter or digit first"
        raise InvalidRequestError(f"{INFERENCE_ID_HEADER} must be {allowed}, got {shown(header)}")
    return header


def parse_accept(header: str) -> str:
    """Return JSON or WAV, whichever the `Accept` header prefers; NotAcceptableError if it has neither.

    RFC 9110, section 12.5.1: the most specific range that matches a type gives its quality, and 0 refuses it. Of equal
    qualities the first in the header wins; without a header, JSON.
    """
    ranges = [_media_range(choice) for choice in header.split(",") if choice.strip()] or [("*/*", 1.0)]
    names = [name for name, _ in ranges]
    ranks: list[tuple[float, int, str]] = []
    for content_type in (JSON, WAV):
        wider = (content_type, content_type.split("/")[0] + "/*", "*/*")  # the most specific first
        if matches := [name for name in wider if name in names]:
            index = names.index(matches[0])
            ranks.append((-ranges[index][1], index, content_type))
    quality, _, preferred = min(ranks, default=(0.0, 0, ""))
    if quality == 0:
        raise NotAcceptableError(f"Accept must be {JSON} or {WAV}, got {shown(header)}")
    return preferred


def _media_range(choice: str) -> tuple[str, float]:
    """Return a media range of `Accept` and its quality; a quality that is none counts as 0."""
    name, *parameters = (part.strip().lower() for part in choice.split(";"))
    for parameter in parameters:
        key, _, value = parameter.partition("=")
        if key.strip() == "q":
            return name, float(value) if _QUALITY.fullmatch(value.strip()) else 0.0
    return name, 1.0


def check_content_type(content_type: str) -> None:
    """Raise UnsupportedContentTypeError unless the type is JSON or leaves open what the body is.

    Parameters such as `charset=utf-8` are allowed.
    """
    if media_type(content_type) not in (JSON, *UNNAMED):
        raise UnsupportedContentTypeError(f"Content-Type must be {JSON}, got {shown(content_type)}")


def media_type(content_type: str) -> str:
    return content_type.split(";")[0].strip().lower()
