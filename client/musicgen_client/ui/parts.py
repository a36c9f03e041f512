"""The parts of the form that are folded in: sections, a loop, a clip to continue, a melody to follow.

Their values are by name, as the page's inputs are: `INITIAL` has them all. Times may be text, "" if not given.
"""

import base64
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from musicgen_client.errors import InvalidRequest
from musicgen_client.requests.audio import Excerpt, check_together, encode_file
from musicgen_client.requests.request import MAX_EXCERPT_SECONDS, MAX_SECTIONS, Section

AUDIO = {"continuation": "continue a clip", "melody": "follow a melody"}
NAMES = ("sections", "loop", *AUDIO)
SUFFIXES = (".wav", ".flac", ".ogg", ".opus", ".mp3")
# In place of the URL of audio that a job of the history had, but whose bytes are not in the journal.
AGAIN = "choose the audio again"
ROWS = tuple((f"section_text_{row}", f"section_seconds_{row}") for row in range(MAX_SECTIONS))
INITIAL: dict[str, Any] = {
    **{name: value for row in ROWS for name, value in zip(row, ("", 10), strict=True)},
    "loop": False,
    "bpm": 120,
    "bars": 4,
    **{f"{kind}_{what}": None if what == "file" else "" for kind in AUDIO for what in ("file", "url", "start", "end")},
    "return_excerpt": True,
}
_BEATS_PER_BAR = 4
_MAX_DIGITS = 20  # of a number that was typed
_MAGIC = ((b"RIFF", ".wav"), (b"fLaC", ".flac"), (b"OggS", ".ogg"))


def read(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a Request that were entered, reading files; InvalidRequest if one cannot be sent."""
    found: dict[str, Any] = {}
    if rows := _rows(values):
        found["sections"] = tuple(Section(text, cast("float", seconds)) for text, seconds in rows)  # Request checks it
    if values.get("loop"):
        bars, bpm = number(values.get("bars")), number(values.get("bpm"))
        found |= {"loop": True, "bpm": _given(bpm), "bars": _given(bars)}
    for kind in AUDIO:
        if (excerpt := _excerpt(kind, values)) is not None:
            found[kind] = excerpt
    if "continuation" in found and values.get("return_excerpt") is False:
        found["return_excerpt"] = False
    check_together("the two audio files together", found.get("continuation"), found.get("melody"))
    return found


def lost(body: Mapping[str, Any]) -> list[str]:
    """Return which of AUDIO a request's JSON object names without its audio."""
    return [kind for kind in AUDIO if kind in body and not any(_audio(body[kind]).values())]


def entered(body: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Return the values of a valid request's JSON object.

    A file that was sent in base64 is written to `folder`, for the page to send again; where audio is `lost`, the URL
    is AGAIN, with which `read` refuses to go without it.
    """
    values = dict(INITIAL)
    for (text, seconds), section in zip(ROWS, body.get("sections", []), strict=False):
        values[text], values[seconds] = section["text"], section["duration"]
    values |= {name: body[name] for name in ("loop", "bpm", "bars") if name in body}
    for kind in AUDIO:
        if (given := body.get(kind)) is None:
            continue
        audio = _audio(given)
        values |= {f"{kind}_{time}": str(given[time]) for time in ("start", "end") if time in given}
        values["return_excerpt"] = given.get("return_excerpt", values["return_excerpt"])
        if content := audio.get("base64"):
            values[f"{kind}_file"] = str(_write(kind, base64.b64decode(content), folder))
        else:
            values[f"{kind}_url"] = audio.get("s3") or AGAIN
    return values


def _audio(given: Mapping[str, Any]) -> dict[str, str]:
    return given.get("audio") or {}


def following(audio: str, seconds: float) -> dict[str, Any]:
    """Return the values that continue a clip, an s3:// URL or a file: from its start, or its last 25 s if it is longer.

    Times have two decimals, as those of clips do.
    """
    start = max(0.0, seconds - MAX_EXCERPT_SECONDS)
    url = audio.startswith("s3://")
    return {
        "continuation_file": None if url else audio,
        "continuation_url": audio if url else "",
        "continuation_start": f"{-(-start * 100 // 1) / 100:g}" if start else "",
        "continuation_end": "",
    }


def summary(values: Mapping[str, Any]) -> dict[str, str]:
    """Return what each part makes of the request, in a sentence; "" for one that is empty."""
    said = dict.fromkeys(NAMES, "")
    if rows := _rows(values):
        total = sum(seconds for _, seconds in rows if isinstance(seconds, int | float))
        said["sections"] = f"{_count(len(rows), 'section')}, {total:g} s, instead of the prompt and the duration."
    if values.get("loop"):
        said["loop"] = _loop(number(values.get("bpm")), number(values.get("bars")))
    for kind, verb in (("continuation", "Continues"), ("melody", "Follows the melody of")):
        if name := _name(kind, values):
            start, end = (str(values.get(f"{kind}_{time}") or "").strip() for time in ("start", "end"))
            excerpt = f"from {start or 0} s to {end + ' s' if end else 'its end'}"
            said[kind] = f"{verb} {name} {excerpt}."
    if said["continuation"] and values.get("return_excerpt") is False:
        said["continuation"] = said["continuation"].removesuffix(".") + "; the clip has what is new alone."
    return said


def number(value: object) -> object:
    """Return the number that a browser means, else the value itself, which Request refuses."""
    if isinstance(value, str) and len(value) <= _MAX_DIGITS:
        try:
            value = float(value)
        except ValueError:
            return value.strip()
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _rows(values: Mapping[str, Any]) -> list[tuple[str, object]]:
    """Return text and seconds of the sections' rows that have a text."""
    rows = [(str(values.get(text) or "").strip(), number(values.get(seconds))) for text, seconds in ROWS]
    return [row for row in rows if row[0]]


def _loop(bpm: object, bars: object) -> str:
    if not isinstance(bpm, int | float) or not isinstance(bars, int | float) or bpm <= 0:
        return "A loop needs bpm and bars."
    seconds = bars * _BEATS_PER_BAR * 60 / bpm
    return f"A loop of {_count(bars, 'bar')} at {bpm:g} bpm: {seconds:.2f} s, instead of the duration."


def _count(count: float, noun: str) -> str:
    return f"{count:g} {noun}{'s' * (count != 1)}"


def _given(value: object) -> object:
    return None if value == "" else value


def _name(kind: str, values: Mapping[str, Any]) -> str:
    """Return the name of a part's audio, for people; "" without one."""
    if file := values.get(f"{kind}_file"):
        return Path(file).name
    return str(values.get(f"{kind}_url") or "").strip().rpartition("/")[2]


def _excerpt(kind: str, values: Mapping[str, Any]) -> Excerpt | None:
    file, url = values.get(f"{kind}_file"), str(values.get(f"{kind}_url") or "").strip()
    times = {name: number(values.get(f"{kind}_{name}")) for name in ("start", "end")}
    at: dict[str, Any] = {name: value for name, value in times.items() if value not in (None, "")}
    if url == AGAIN:
        if not file:
            raise InvalidRequest(f"{kind} must have its audio again: choose the file, or clear the field {AGAIN!r}")
        url = ""
    if file and url:
        raise InvalidRequest(f"{kind} must have either a file or an s3:// URL, got both")
    if file:
        return Excerpt(base64=encode_file(Path(file), Path(file).name), **at)
    if url:
        return Excerpt(s3=url, **at)
    if at:
        raise InvalidRequest(f"{kind}.{next(iter(at))} needs audio: choose a file, or give its s3:// URL")
    return None


def _write(kind: str, content: bytes, folder: Path) -> Path:
    suffix = next((suffix for magic, suffix in _MAGIC if content.startswith(magic)), ".mp3")
    file = folder / f"{kind}-{hashlib.sha256(content).hexdigest()[:8]}{suffix}"
    file.write_bytes(content)
    return file
