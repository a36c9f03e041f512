"""What `musicgen generate` is given besides prompts: sections, a loop, and audio to continue or to follow."""

from pathlib import Path
from typing import Any

from musicgen_client.errors import InvalidRequest
from musicgen_client.requests.audio import Excerpt, check_together, encode_file
from musicgen_client.requests.checks import shown
from musicgen_client.requests.request import Section


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
    check_together(f"{continued} and {melody} together", found.get("continuation"), found.get("melody"))
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
    return Excerpt(base64=encode_file(Path(name), name), **at)
