"""Seconds that a clip takes, from responses of a real endpoint: the `.out` objects, as in docs/contracts.md."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

_LARGEST = 1_000_000  # bytes; a response of sixteen clips has a few thousand


def seconds_per_clip(paths: Sequence[Path], clip_seconds: float) -> float:
    """Work on one clip of `clip_seconds`, in proportion to the responses' seconds of work and of music.

    A response counts as a whole: its clips were made together. ValueError for a file that is no response.
    """
    work, music = 0.0, 0.0
    for path in paths:
        response = _read(path)
        try:
            work += sum(float(response["timings"][name]) for name in ("generate_seconds", "upload_seconds"))
            music += sum(float(duration) for duration in response["durations"])
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path} must hold a response with timings and durations, got {error!r}") from error
    if not (work > 0 and music > 0):
        raise ValueError(f"measured responses must hold some work and some music, got {work:g} s and {music:g} s")
    return work / music * clip_seconds


def _read(path: Path) -> dict[str, Any]:
    if path.stat().st_size > _LARGEST:
        raise ValueError(f"{path} must have at most {_LARGEST:,} bytes, got {path.stat().st_size:,}")
    response: Any = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(response, dict):
        raise ValueError(f"{path} must hold a response, a JSON object, got {type(response).__name__}")
    return cast(dict[str, Any], response)
