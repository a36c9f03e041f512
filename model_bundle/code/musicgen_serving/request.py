"""The request body: JSON text in, a checked request out (docs/contracts.md, "Request")."""

import json
import re
from dataclasses import dataclass
from typing import cast

from musicgen_serving.errors import BodyTooLargeError, ContentTypeError, InvalidRequestError, MalformedBodyError
from musicgen_serving.parameters import GenerationParams, as_object, parse_params, shown

MAX_JSON_BYTES = 1024 * 1024  # sixteen texts of 1000 characters, each escaped to 12 bytes, are 192,000
MAX_TEXTS = 16
MAX_CHARACTERS = 1000
FIELDS = ("texts", "bucket_name", "generation_params")


@dataclass(frozen=True, kw_only=True)
class MusicRequest:
    """One checked request: a clip for each text."""

    texts: tuple[str, ...]
    bucket_name: str | None
    params: GenerationParams


def parse_request(body: bytes, content_type: str) -> MusicRequest:
    """Read a request body.

    Raises ContentTypeError, BodyTooLargeError, MalformedBodyError or InvalidRequestError, each with one sentence.
    """
    check_content_type(content_type)
    if len(body) > MAX_JSON_BYTES:
        raise BodyTooLargeError(f"body must be at most {MAX_JSON_BYTES} bytes of JSON, got {len(body)}")
    fields = as_object("body", _load(body), FIELDS)
    if "texts" not in fields:
        raise InvalidRequestError(f"texts must be an array of 1 to {MAX_TEXTS} strings, got nothing")
    return MusicRequest(
        texts=_texts(fields["texts"]),
        bucket_name=_bucket(fields.get("bucket_name")) if "bucket_name" in fields else None,
        params=parse_params(fields.get("generation_params", {})),
    )


def check_content_type(content_type: str) -> None:
    """Refuse all but JSON; parameters such as `charset=utf-8` are allowed."""
    if content_type.split(";")[0].strip().lower() != "application/json":
        raise ContentTypeError(f"Content-Type must be application/json, got {shown(content_type)}")


def _load(body: bytes) -> object:
    try:
        return json.loads(body.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise MalformedBodyError(f"body must be UTF-8, got another byte at {error.start}") from error
    except json.JSONDecodeError as error:
        at = f"line {error.lineno} column {error.colno}"
        raise MalformedBodyError(f"body must be JSON, got an error at {at}: {error.msg.lower()}") from error
    except ValueError as error:  # a number of more digits than Python converts
        raise MalformedBodyError("body must be JSON with numbers of at most 4300 digits, got more") from error
    except RecursionError as error:
        raise MalformedBodyError("body must be JSON nested at most three deep, got far more") from error


def _texts(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not 1 <= len(cast("list[object]", value)) <= MAX_TEXTS:
        raise InvalidRequestError(
            f"texts must be an array of 1 to {MAX_TEXTS} strings, got {shown(cast('object', value))}"
        )
    return tuple(_text(index, item) for index, item in enumerate(cast("list[object]", value)))


def _text(index: int, value: object) -> str:
    allowed = f"texts[{index}] must be a string of 1 to {MAX_CHARACTERS} characters"
    if not isinstance(value, str):
        raise InvalidRequestError(f"{allowed}, got {shown(value)}")
    if not 1 <= len(value) <= MAX_CHARACTERS:
        raise InvalidRequestError(f"{allowed}, got {len(value)} characters")
    if not re.search(r"\S", value):
        raise InvalidRequestError(f"{allowed}, not all of them white space, got {shown(value)}")
    if any(0xD800 <= ord(character) <= 0xDFFF for character in value):
        raise InvalidRequestError(f"{allowed} without lone surrogates, got {shown(value)}")
    return value


def _bucket(value: object) -> str:
    if not isinstance(value, str):
        raise InvalidRequestError(f"bucket_name must be a string, got {shown(value)}")
    return value
