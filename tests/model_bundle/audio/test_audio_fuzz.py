"""Hundreds of damaged and hostile audio files: each is refused or decoded in bounds, and the engine stays healthy."""

import base64
import io
import json
import random
from collections import Counter
from email.message import Message
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

import inference
from musicgen_serving.audio_download import AudioSource
from musicgen_serving.audio_input import AudioInput
from musicgen_serving.audio_upload import AudioStore
from musicgen_serving.http.invocation import Invocations
from musicgen_serving.http.tracking import RequestTracker
from musicgen_serving.model_loading import Model, read_checkpoint

FORMATS = {
    "wav": ("WAV", "PCM_16"),
    "wav_float": ("WAVEX", "FLOAT"),
    "flac": ("FLAC", "PCM_24"),
    "ogg": ("OGG", "VORBIS"),
    "opus": ("OGG", "OPUS"),
    "mp3": ("MP3", "MPEG_LAYER_III"),
}
FILES = 600
MAGIC = (b"RIFF\x24\x00\x00\x00WAVEfmt ", b"fLaC\x00\x00\x00\x22", b"OggS\x00\x02", b"ID3\x04", b"\xff\xfb\x90\x00")


def sound_files() -> list[bytes]:
    """Return a short file of each format, in mono and in stereo."""
    noise, files = np.random.default_rng(1), list[bytes]()
    for container, subtype in FORMATS.values():
        for channels, rate in ((1, 48000), (2, 16000)):
            buffer = io.BytesIO()
            samples = noise.normal(0, 0.1, (rate // 5, channels))
            soundfile.write(buffer, samples, rate, format=container, subtype=subtype)
            files.append(buffer.getvalue())
    return files


def hostile(rng: random.Random, files: list[bytes]) -> bytes:
    """Return a file that is damaged in one of seven ways."""
    data = bytearray(rng.choice(files))
    header = rng.randrange(min(len(data), 120))
    match rng.randrange(7):
        case 0:
            return bytes(data[: rng.randrange(len(data))])
        case 1:  # a field of the header becomes huge, negative or zero
            data[header : header + 4] = rng.choice((b"\xff" * 4, b"\xff\xff\xff\x7f", b"\x00" * 4, b"\x00\x00\x00\x80"))
        case 2:
            for _ in range(rng.randrange(1, 60)):
                data[rng.randrange(len(data))] = rng.randrange(256)
        case 3:
            data[header:header] = rng.randbytes(rng.randrange(1, 5000))
        case 4:
            other = rng.choice(files)
            return bytes(data[: rng.randrange(len(data))]) + other[rng.randrange(len(other)) :]
        case 5:
            return rng.choice(MAGIC) + rng.randbytes(rng.randrange(20_000))
        case _:  # one part many times: frames without end
            start = rng.randrange(len(data))
            return bytes(data) + bytes(data[start : start + 500]) * rng.randrange(1, 2000)
    return bytes(data)


@pytest.fixture
def invocations(staged_musicgen: Path, generator: Any, s3: Any, memory_log: Any) -> Invocations:
    served = Invocations(memory_log.log, 1)
    audio_input = AudioInput(AudioSource(s3, ()), generator.sampling_rate, generator.channels)
    tracker = RequestTracker(s3, "out", memory_log.log)
    served.serve(
        inference,
        Model(read_checkpoint(staged_musicgen), generator, AudioStore(s3, ("out",)), tracker, audio_input),
        lambda: generator.healthy,
    )
    return served


def answer(invocations: Invocations, data: bytes, **excerpt: float) -> tuple[int, Any]:
    audio = {"base64": base64.b64encode(data).decode()}
    body = {
        "texts": ["a"],
        "continuation": {"audio": audio, **excerpt},
        "generation_params": {"max_new_tokens": 4, "seed": 1},
    }
    headers = Message()
    headers["Content-Type"] = "application/json"
    response = invocations.answer(headers, lambda: json.dumps(body).encode())
    return response.status, json.loads(response.body)


def test_600_damaged_files_are_refused_or_decoded_and_the_engine_stays_healthy(
    invocations: Invocations, memory_log: Any
) -> None:
    rng, files = random.Random(23), sound_files()
    assert all(answer(invocations, data)[0] == 200 for data in files)
    statuses, sentences = Counter[int](), set[str]()
    for number in range(FILES):
        excerpt = rng.choice(({}, *3 * ({"end": 0.1}, {"start": 0.05, "end": 0.15})))
        status, response = answer(invocations, hostile(rng, files), **excerpt)
        statuses[status] += 1
        assert status in (200, 422), (number, status, response)
        if status == 422:
            assert response["error"].startswith("continuation"), (number, response)
            assert "\n" not in response["error"] and len(response["error"]) < 300
            sentences.add(response["error"])
        else:
            assert response["durations"][0] <= 25.02
    assert statuses[422] >= 200 and statuses[200] >= 100 and len(sentences) >= 10, (statuses, len(sentences))
    assert invocations.ready and not memory_log.events("fault")
    assert answer(invocations, files[0])[0] == 200
