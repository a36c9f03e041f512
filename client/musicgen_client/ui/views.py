"""What the page shows, as HTML: progress, clips with waveform and spectrogram, the history's rows."""

import base64
import html
import struct
import zlib
from collections.abc import Mapping
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from musicgen_client.clip import Clip
from musicgen_client.journal import Record
from musicgen_client.requests.request import title
from musicgen_client.status import HINTS, Status
from musicgen_client.ui.work import Snapshot

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

COLUMNS = ("when", "prompt", "seed", "clips", "status", "id")
STAGES = ("asleep", "waking", "queued", "generating", "uploading")
_POSITION = {  # of the stages that have no place of their own
    "sending": "queued",
    "planned": "queued",
    "in doubt": "queued",
    "retrying": "queued",
    "finishing": "uploading",
}
_SENTENCES = {
    **HINTS,
    "sending": "sending the request",
    "planned": "sending the request",
    "queued": "queued: waiting for a place on the instance",
    "in doubt": "sent, but the answer was lost: waiting, so that it is not generated twice",
    "retrying": "AWS did not answer as it should; trying again",
    "generating": "generating",
    "uploading": "uploading the clips",
    "finishing": "finishing",
    "completed": "downloading the clips",
}
_ROWS, _MAX_COLUMNS, _WINDOW = 128, 600, 2048  # of the spectrogram; samples of a transform
_LOWEST, _RANGE_DB = 40.0, 70.0  # Hz, dB below the loudest value
_QUIET_DB = -40.0  # power; what is quieter in all of a clip is not made visible
# Dark to bright at equal steps; what lies between is interpolated.
_COLOURS = ((12, 10, 32), (62, 22, 102), (148, 44, 116), (226, 84, 78), (252, 160, 78), (252, 240, 180))

STYLE = """
.gradio-container { --body-text-color-subdued: color-mix(in srgb, var(--body-text-color) 70%, transparent);
  --block-info-text-color: var(--body-text-color-subdued); }
.mg-stages { display: flex; flex-wrap: wrap; gap: .4rem; margin: .2rem 0 .6rem; padding: 0; list-style: none; }
.mg-stages li { padding: .15rem .7rem; border-radius: 1rem; font-size: .85rem; margin: 0 !important;
  color: var(--body-text-color-subdued);  border: 1px solid var(--border-color-primary); }
.mg-stages li.past { opacity: .55; }
.mg-stages li.now { background: var(--color-accent); border-color: var(--color-accent); color: white; }
.mg-bar { height: .4rem; border-radius: .2rem; background: var(--border-color-primary); overflow: hidden; }
.mg-bar div { height: 100%; background: var(--color-accent); transition: width .4s; }
.mg-error { border-left: .3rem solid #c33; padding: .5rem .8rem; background: var(--block-background-fill);
  overflow-wrap: anywhere; }
.mg-note { color: var(--body-text-color-subdued); font-size: .9rem; margin: .3rem 0; overflow-wrap: anywhere; }
.mg-clips { display: grid; gap: .8rem; grid-template-columns: repeat(auto-fill, minmax(17rem, 1fr)); }
.mg-clip { border: 1px solid var(--border-color-primary); border-radius: .5rem; padding: .7rem;
  background: var(--block-background-fill); }
.mg-clip h4 { margin: 0 0 .4rem; font-size: .95rem; overflow-wrap: anywhere; }
.mg-clip svg { width: 100%; height: 64px; display: block; }
.mg-clip svg path { stroke: var(--color-accent) !important; }
.mg-clip img { width: 100%; height: 96px; display: block; border-radius: .25rem; margin: .3rem 0; }
.mg-clip audio { width: 100%; height: 2.2rem; margin: .2rem 0; }
.mg-facts { display: flex; flex-wrap: wrap; justify-content: space-between; gap: 0 .6rem; }
.mg-facts button { background: none; border: 0; padding: 0; font: inherit; cursor: pointer; }
.mg-facts button, .mg-clip a { color: var(--link-text-color); text-decoration: underline; }
.block:is(#summary, #remarks, [id^="said-"]):not(:has(p)) { display: none; }
.mg-excerpt { width: 100%; height: 2.2rem; }
.mg-clip a { margin: 0 !important; padding: 0 !important; }
"""
# Of the clips' component: a click on "Continue this clip" says which.
ON_CONTINUE = """
element.addEventListener("click", (event) => {
  const button = event.target.closest("[data-audio]");
  if (!button) return;
  trigger("click", {audio: button.dataset.audio, seconds: button.dataset.seconds});
  document.querySelector("#part-continuation").scrollIntoView({block: "center"});
});
"""


def progress(shown: Snapshot) -> str:
    """Return the stages with the present one marked, a bar while a percentage is known, and a sentence."""
    if shown.done and shown.stage == "cancelled":
        return note(f"Stopped after {shown.seconds:.0f} s.")
    if shown.error:
        return failure(shown.error)
    if shown.left:
        return note(f"No longer waiting for {shown.job}: the endpoint ends it when it reaches it. See the history.")
    if shown.clips:
        return note(f"{len(shown.clips)} {'clip' if len(shown.clips) == 1 else 'clips'} in {shown.seconds:.0f} s")
    place_of = _POSITION.get(shown.stage, shown.stage)
    here = STAGES.index(place_of) if place_of in STAGES else len(STAGES) - 1  # an end, before its clips are read
    items = "".join(
        f'<li class="{"past" if place < here else "now" if place == here else ""}">{name}</li>'
        for place, name in enumerate(STAGES)
    )
    sentence = _SENTENCES.get(shown.stage, shown.stage)
    percent = "" if shown.percent is None else f" {shown.percent:.0f} %"
    bar = f'<div class="mg-bar"><div style="width: {shown.percent or 0:.0f}%"></div></div>'
    text = f"{'stopping; ' if shown.stopping else ''}{sentence}{percent} ({shown.seconds:.0f} s)"
    detail = note(shown.detail) if shown.detail else ""
    return f'<ol class="mg-stages" data-stage="{html.escape(shown.stage)}">{items}</ol>{bar}{note(text)}{detail}'


def failure(message: str) -> str:
    """Return an error that stays until the next request."""
    return f'<div class="mg-error" role="alert">{html.escape(message)}</div>'


def note(message: str) -> str:
    """Return a line of small text."""
    return f'<p class="mg-note">{html.escape(message)}</p>'


def endpoint(name: str, status: Status | None, usd_per_hour: float | None) -> str:
    """Return a line about the stack; `status` is None if the caller may not ask."""
    state = "" if status is None else f" is {HINTS.get(status.state, status.state)}"
    price = "" if usd_per_hour is None else f"; an instance costs ${usd_per_hour:g}/h while it runs"
    return note(f"Stack {name}{state}{price}. Meta's weights are CC-BY-NC 4.0: for non-commercial purposes only.")


def clips(found: tuple[Clip, ...], folder: Path) -> str:
    """Write the clips' files into a folder that the page serves, and return the clips side by side."""
    return f'<div class="mg-clips">{"".join(_clip(clip, clip.save(folder / clip.file_name)) for clip in found)}</div>'


def _clip(clip: Clip, file: Path) -> str:
    address = _address(file)
    picture = ""
    if clip.format == "wav":  # others need a library to decode
        image = base64.b64encode(png(spectrogram(clip.samples[0], clip.rate))).decode()
        label = f"spectrogram, {_LOWEST:.0f} Hz to {clip.rate // 2000} kHz"
        picture = f'<img alt="{label}" src="data:image/png;base64,{image}">'
    model = str(clip.metadata.get("model", "")).rpartition("/")[2]
    facts = html.escape(" · ".join(fact for fact in (f"seed {clip.seed}", f"{clip.duration:.2f} s", model) if fact))
    return (
        f'<article class="mg-clip"><h4>{html.escape(clip.prompt or "without a prompt")}</h4>{clip.waveform_svg()}'
        f'{picture}<audio controls preload="metadata" src="{address}"></audio>'
        f'<p class="mg-note mg-facts"><span>{facts}</span>'
        f'<button type="button" data-audio="{html.escape(clip.url or file.name)}" data-seconds="{clip.duration}">'
        f'Continue this clip</button><a href="{address}" download="{html.escape(file.name)}">download</a></p>'
        "</article>"
    )


def excerpt(values: Mapping[str, Any], kind: str) -> str:
    """Return a player of the excerpt of a file that was chosen; a browser stops it at its end."""
    if not (file := values.get(f"{kind}_file")):
        return ""
    times = ",".join(str(values.get(f"{kind}_{time}") or "").strip() for time in ("start", "end"))
    source = f"{_address(Path(file))}#t={html.escape(quote(times, safe=','))}"
    return f'<audio class="mg-excerpt" controls preload="metadata" src="{source}"></audio>'


def _address(file: Path) -> str:
    return html.escape(f"/gradio_api/file={quote(str(file))}")


def history_rows(records: list[Record]) -> list[list[str]]:
    """Return a row of COLUMNS for each job."""
    return [_row(record) for record in records]


def _row(record: Record) -> list[str]:
    request: dict[str, Any] = record.request
    prompts = len(request.get("texts", [])) or int("sections" in request)
    count = prompts * request.get("n", 1) or request.get("unconditional_clips", 1)
    when = datetime.fromtimestamp(record.planned_at, UTC).astimezone()
    seed = request.get("generation_params", {}).get("seed", "")
    prompt = title(request) or "(without a prompt)"
    return [f"{when:%Y-%m-%d %H:%M}", prompt, str(seed), str(count), record.status or "open", record.id]


def spectrogram(samples: "NDArray[np.float32]", rate: int) -> "NDArray[np.uint8]":
    """Return the loudness by frequency and time, uint8 [128, at most 600]: 0 is 70 dB below the loudest value.

    `samples` are float32 [samples]. The rows are logarithmic from half the sampling rate, at the top, to 40 Hz.
    """
    import numpy as np

    samples = np.pad(samples, (0, max(0, _WINDOW - len(samples))))
    count = min(_MAX_COLUMNS, 1 + (len(samples) - _WINDOW) // (_WINDOW // 8))
    starts = np.linspace(0, len(samples) - _WINDOW, count).astype(int)
    frames = np.lib.stride_tricks.sliding_window_view(samples, _WINDOW)[starts]
    power = np.abs(np.fft.rfft(frames * np.hanning(_WINDOW).astype(np.float32), axis=1)) ** 2
    # A row takes the loudest bin from its own frequency to that of the row above, at least one bin.
    edges = np.geomspace(_LOWEST, rate / 2, _ROWS + 1) * _WINDOW / rate
    rows = [power[:, int(low) : max(int(low) + 1, int(high))].max(axis=1) for low, high in pairwise(edges)]
    values = 10 * np.log10(np.maximum(np.stack(rows[::-1]), 1e-12))
    return (255 * np.clip(1 + (values - max(values.max(), _QUIET_DB)) / _RANGE_DB, 0, 1)).astype(np.uint8)


def png(values: "NDArray[np.uint8]") -> bytes:
    """Return the values, uint8 [rows, columns], as a PNG image with the spectrogram's colours (a palette)."""
    rows, columns = values.shape
    steps = len(_COLOURS) - 1
    palette = bytearray()
    for value in range(256):
        place, rest = divmod(value * steps / 255, 1)
        low, high = _COLOURS[int(place)], _COLOURS[min(steps, int(place) + 1)]
        palette += bytes(round(a + (b - a) * rest) for a, b in zip(low, high, strict=True))
    content = zlib.compress(b"".join(b"\0" + row.tobytes() for row in values))  # 0: no filter
    header = struct.pack(">IIBBBBB", columns, rows, 8, 3, 0, 0, 0)  # 8 bits, palette
    chunks = ((b"IHDR", header), (b"PLTE", bytes(palette)), (b"IDAT", content), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
