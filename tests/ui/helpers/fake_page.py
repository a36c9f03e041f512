"""`musicgen ui` in front of a fake AWS that sleeps, wakes, reports progress, refuses and can be cancelled.

`python -m tests.ui.helpers.fake_page [--seconds S] [options of musicgen ui]`, in the environment with Gradio. The clips
are synthetic arpeggios: there is no model. A prompt with "refuse" and a melody are refused, "slow" runs for a minute.
"""

import io
import json
import os
import sys
import tempfile
import threading
import time
import wave
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from musicgen_client import MusicGen
from musicgen_client.cli import app as commands
from musicgen_client.cli import main
from musicgen_client.history import History
from tests.client.helpers.fake_aws import FakeAws, Queued
from tests.ui.helpers.process import STACK

REFUSAL = 'texts[0] must be a string of 1 to 1000 characters, got <b>"refuse"</b>'
NO_MELODY = "melody needs a melody model (facebook/musicgen-melody, …), this endpoint serves facebook/musicgen-small"
_RATE = 32_000
_WAKE_SECONDS = 2.0
_SCALE = (0, 3, 5, 7, 10)  # of a minor pentatonic
_FIFTHS = (0, -4, 3, -2)  # semitones: the chords of a loop


@dataclass
class LiveAws(FakeAws):
    """A fake AWS whose time is this machine's; the first request wakes its instance."""

    lock: Any = field(default_factory=threading.RLock)
    instances: int = 0
    started: dict[str, float] = field(default_factory=dict[str, float])

    def _call(self, effect: Callable[..., Any]) -> Callable[..., Any]:
        call = super()._call(effect)

        def locked(**parameters: Any) -> Any:
            with self.lock:
                self._tick()
                return call(**parameters)

        return locked

    def _tick(self) -> None:
        self.now = time.time()
        if self.queue and self.now - (self.queue[0].expires_at - 3600) > _WAKE_SECONDS:
            self.instances = 1
        self._work()
        for request in self.running:
            first = self.started.setdefault(request.id, self.now)
            if "slow" in request.body.decode():
                request.done_at = max(request.done_at, first + 60)
            if ("outputs", f"cancel/{request.id}") in self.objects:
                request.done_at = self.now
            percent = 100 * min(1.0, (self.now - first) / max(0.1, request.done_at - first))
            stage = {"stage": "uploading" if percent > 90 else "generating", "percent": percent}
            self.objects["outputs", f"audio/{request.id}/progress.json"] = json.dumps(stage).encode()


def arpeggio(seconds: float, seed: int) -> bytes:
    """Return a WAV file of plucked notes over a bass; the seed chooses them."""
    random = np.random.default_rng(seed)
    time_axis = np.arange(round(seconds * _RATE)) / _RATE
    samples = np.zeros_like(time_axis)
    for beat in range(int(seconds * 4) + 1):
        root = 45 + _FIFTHS[beat // 8 % len(_FIFTHS)]
        notes = [(root + 12 * int(random.integers(1, 4)) + int(random.choice(_SCALE)), 0.16, 5.0)]
        if beat % 4 == 0:
            notes.append((root, 0.3, 1.5))
        for note, level, decay in notes:
            since = time_axis - beat / 4
            pitch = 440 * 2 ** ((note - 69) / 12)
            tone = sum(np.sin(2 * np.pi * pitch * k * since) / k**1.5 for k in range(1, 7))
            samples += np.where(since >= 0, level * tone * np.exp(-decay * np.maximum(since, 0)), 0)
        if beat % 2:
            since = np.maximum(time_axis - beat / 4, 0)
            hiss = random.standard_normal(len(samples)) * np.exp(-60 * since) * (time_axis >= beat / 4)
            samples += 0.05 * hiss
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(_RATE)
        file.writeframes((20_000 * np.tanh(samples)).astype("<i2").tobytes())
    return buffer.getvalue()


def answer(request: Queued) -> tuple[int, bytes] | None:
    """Refuse a melody, and what a prompt asks to be refused."""
    if "melody" in json.loads(request.body):
        return 422, json.dumps({"error": NO_MELODY, "status": 422}).encode()
    return (400, json.dumps({"error": REFUSAL, "status": 400}).encode()) if "refuse" in request.body.decode() else None


def run() -> None:
    """Run `musicgen ui` with the fake instead of AWS."""
    seconds = float(os.environ.get("FAKE_SECONDS", "3"))
    aws = LiveAws(now=time.time(), seconds=seconds, clip=arpeggio, answer=answer)
    with tempfile.TemporaryDirectory() as state:
        folder = Path(os.environ.get("FAKE_STATE", state))  # of the journals, for a test that reads them
        music = MusicGen(STACK, clients=aws.clients, history=History(STACK, folder))
        commands.connect = lambda _settings: music
        sys.argv = ["musicgen", "ui", *sys.argv[1:]]
        main()


if __name__ == "__main__":
    run()
