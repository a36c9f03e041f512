"""Seconds of work per clip, from responses of a real endpoint: the `.out` objects described in docs/contracts.md."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

_MAX_BYTES = 1_000_000  # a response of sixteen clips has a few thousand


def seconds_per_clip(paths: Sequence[Path], clip_seconds: float) -> float:
    """Return the work on a clip of `clip_seconds`, proportional to the responses' seconds of work and of music.

    A response counts as a whole, since its clips are generated together. Raise ValueError for other files.
    """
    work, music = 0.0, 0.0
    for path in paths:
        if path.stat().st_size > _MAX_BYTES:
            raise ValueError(f"{path} must have at most {_MAX_BYTES:,} bytes, got {path.stat().st_size:,}")
        response: Any = json.loads(path.read_text(encoding="utf-8"))
        try:
            work += sum(float(response["timings"][name]) for name in ("generate_seconds", "upload_seconds"))
            music += sum(float(duration) for duration in response["durations"])
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path} must hold a response with timings and durations, got {error!r}") from error
    if not (work > 0 and music > 0):
        raise ValueError(f"measured responses must hold some work and some music, got {work:g} s and {music:g} s")
    return work / music * clip_seconds
