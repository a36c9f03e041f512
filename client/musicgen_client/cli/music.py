"""What `musicgen generate` is given besides prompts: sections, a loop, and audio to continue or to follow."""

import base64
from pathlib import Path
from typing import Any

from musicgen_client.audio import Excerpt
from musicgen_client.checks import shown
from musicgen_client.errors import InvalidRequest
from musicgen_client.requests import MAX_BODY_BYTES, Section

# Of all files of a request. In base64 they have a third more; all the rest of a request has at most 0.2 MB.
MAX_FILE_BYTES = (MAX_BODY_BYTES - 256 * 1024) // 4 * 3


def section(text: str) -> Section:
    """Return the section that SECONDS:TEXT describes."""
    seconds, _, prompt = text.partition(":")
    try:
        return Section(prompt.strip(), float(seconds))
    except ValueError as error:
        raise InvalidRequest(f"--section must be SECONDS:TEXT, got {shown(text)}") from error


def excerpts(
    continued: str | None, continued_at: tuple[float | None, float | None], no_excerpt: bool, melody: str | None,
    melody_at: tuple[float | None, float | None],
) -> dict[str, Any]:  # fmt: skip
    """Return the fields of a Request for audio to continue and to follow, each a file's name or an s3:// URL."""
    if no_excerpt and continued is None:
        raise InvalidRequest("--no-excerpt needs --continue with a file or an s3:// URL")
    found: dict[str, Any] = {}
    if (excerpt := _excerpt("--continue", continued, *continued_at)) is not None:
        found["continuation"] = excerpt
    if no_excerpt:
        found["return_excerpt"] = False
    if (excerpt := _excerpt("--melody", melody, *melody_at)) is not None:
        found["melody"] = excerpt
    both = [len(found[name].base64 or "") for name in ("continuation", "melody") if name in found]
    if sum(both) > MAX_FILE_BYTES // 3 * 4:
        raise _too_large(f"{continued} and {melody} together")
    return found


def _excerpt(option: str, name: str | None, start: float | None, end: float | None) -> Excerpt | None:
    if name is None:
        for suffix, value in (("start", start), ("end", end)):
            if value is not None:
                raise InvalidRequest(f"{option}-{suffix} needs {option} with a file or an s3:// URL")
        return None
    at: dict[str, Any] = {"start": start or 0, "end": end}
    if name.startswith("s3://"):
        return Excerpt(s3=name, **at)
    if "://" in name:
        raise InvalidRequest(
            f"{option} must be a file or an s3:// URL, got {shown(name)}: the endpoint reads only S3 and base64"
        )
    return Excerpt(base64=base64.b64encode(_read(name)).decode(), **at)


def _read(name: str) -> bytes:
    try:
        with Path(name).open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise InvalidRequest(f"{name} cannot be read: {error.strerror}") from error
    if len(content) > MAX_FILE_BYTES:
        raise _too_large(name)
    if not content:
        raise InvalidRequest(f"{name} must be an audio file, got an empty one")
    return content


def _too_large(what: str) -> InvalidRequest:
    return InvalidRequest(
        f"{what} must have at most {MAX_FILE_BYTES} bytes to be sent with a request, got more; upload the audio to in/ "
        "of the input bucket, and give its s3:// URL"
    )
