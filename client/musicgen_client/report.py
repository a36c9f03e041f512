"""A page about a run in one HTML file: players, waveforms, prompts, seeds and timings, without network or scripts."""

import base64
import html
import os
import tempfile
from pathlib import Path
from types import TracebackType
from typing import IO, cast
from urllib.parse import quote

from musicgen_client.clip import Clip
from musicgen_client.errors import InvalidRequest
from musicgen_client.requests.request import Request

MAX_AUDIO_BYTES = 48 * 1024 * 1024  # of WAV files inside the page: 64 MiB in base64, 26 clips of 30 s or 157 of 5 s
MAX_ENTRIES = 1000
# A browser that finds a hole in the escaping still loads and runs nothing.
_POLICY = "default-src 'none'; media-src data:; style-src 'unsafe-inline'"
_HEAD = f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<title>MusicGen clips</title>
<style>
body {{ font: 16px/1.4 system-ui, sans-serif; max-width: 44rem; margin: 2rem auto; padding: 0 1rem; }}
article {{ border-top: 1px solid #bbb; padding: 1rem 0; }}
h2 {{ font-size: 1.1rem; margin: 0; overflow-wrap: anywhere; }}
svg {{ width: 100%; color: #36c; }}
audio {{ width: 100%; }}
p {{ margin: .3rem 0; color: #555; overflow-wrap: anywhere; }}
</style>
</head>
<body>
<h1>MusicGen clips</h1>
"""


class Report:
    """Writes the page clip by clip, so that any number needs the memory of one; a context manager.

    The file appears when the block ends, also by an exception: then it has what was finished until then. The first
    MAX_AUDIO_BYTES of audio are in the page; later clips have a waveform and a link to their WAV file, and of more
    than MAX_ENTRIES only the number is given, so the page has at most 64 MiB of audio and about 10 KB per entry.
    """

    def __init__(self, path: Path) -> None:
        if path.is_dir():
            raise InvalidRequest(f"{path} must be a file's name, got a folder")
        self.path = path
        self._audio = self._entries = self._clips = self._failures = 0
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=".musicgen-", suffix=".part")
        except OSError as error:
            raise InvalidRequest(f"{path} cannot be written: {error.strerror}") from error
        self._temporary = Path(name)
        self._file: IO[str] = os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace")
        self._file.write(_HEAD)

    def __enter__(self) -> "Report":
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _at: TracebackType | None
    ) -> None:
        try:
            self._file.write(self._summary())
            self._file.close()
            self._temporary.replace(self.path)
        except BaseException:
            self._file.close()
            self._temporary.unlink(missing_ok=True)
            raise

    def add(self, clip: Clip, file: Path) -> None:
        """Append a clip whose audio is in `file`."""
        self._clips += 1
        if not self._room():
            return
        if self._audio + len(clip.wav) <= MAX_AUDIO_BYTES:
            self._audio += len(clip.wav)
            audio = base64.b64encode(clip.wav).decode()
            player = f'<audio controls src="data:{clip.content_type};base64,{audio}"></audio>'
        else:
            player = f"<p>{self._link(file)} (not in this page, which would be too large)</p>"
        facts = [
            f"{clip.duration:.2f} s at {clip.rate} Hz",
            f"seed {clip.seed}",
            *_timings(clip.metadata.get("timings")),
            str(clip.metadata.get("model", "")),
            f"{clip.inference_id} [{clip.index}]",
        ]
        self._write(clip.prompt or "without a prompt", clip.waveform_svg() + player, facts)

    def add_failure(self, job: str, request: Request, error: Exception) -> None:
        """Append a request that did not become music."""
        self._failures += 1
        if self._room():
            self._write(
                "; ".join(request.texts) or request.prompt(0) or "without a prompt", "", [f"failed: {error}", job]
            )

    def _link(self, file: Path) -> str:
        """Return a link to an audio file, relative and quoted, so that it cannot mean a host."""
        name = html.escape(file.name)
        try:
            link = quote(Path(os.path.relpath(file, self.path.parent)).as_posix())
        except ValueError:  # another drive of Windows
            return name
        return f'<a href="./{link}">{name}</a>'

    def _room(self) -> bool:
        self._entries += 1
        return self._entries <= MAX_ENTRIES

    def _write(self, title: str, media: str, facts: list[str]) -> None:
        line = html.escape(" · ".join(fact for fact in facts if fact))
        self._file.write(f"<article>\n<h2>{html.escape(title)}</h2>\n{media}\n<p>{line}</p>\n</article>\n")

    def _summary(self) -> str:
        more = max(0, self._entries - MAX_ENTRIES)
        rest = f" The last {more} of them are not shown." if more else ""
        counts = f"{self._clips} clips, {self._failures} failed requests."
        return f"<footer><p>{counts}{rest}</p></footer>\n</body>\n</html>\n"


def _timings(value: object) -> list[str]:
    """Return the response's timings for people; nothing of what a container of another kind may have there."""
    timings = cast("dict[object, object]", value) if isinstance(value, dict) else {}
    return [
        f"{str(name).removesuffix('_seconds')} {seconds:g} s"
        for name, seconds in timings.items()
        if isinstance(seconds, int | float)
    ]
