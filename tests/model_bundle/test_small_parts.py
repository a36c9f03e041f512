"""Audio files, the log, the manifest, inference ids and the count of starts."""

import io
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from musicgen_serving.audio import wav_bytes
from musicgen_serving.checkpoint import Checkpoint, read_checkpoint
from musicgen_serving.inference_id import seeds_of
from musicgen_serving.json_log import JsonLog
from musicgen_serving.starts import count_start


@pytest.mark.parametrize("channels", [1, 2])
def test_writes_wav_that_libsndfile_reads_back(channels: int) -> None:
    samples = np.linspace(-1, 1, channels * 320, dtype=np.float32).reshape(channels, 320)
    read: Any = soundfile.read(io.BytesIO(wav_bytes(samples, 32000)), always_2d=True)
    assert read[1] == 32000
    np.testing.assert_allclose(read[0].T, samples, atol=1.6 / 32767)


def test_clips_what_is_beyond_full_scale() -> None:
    loud = np.array([[-3.0, 3.0]], dtype=np.float32)
    assert wav_bytes(loud, 32000)[-4:] == np.array([-32767, 32767], dtype="<i2").tobytes()


def test_logs_whole_lines_of_json_to_a_file(tmp_path: Path) -> None:
    log = JsonLog.to(tmp_path / "log")
    log.write("start", pid=7, path=tmp_path)
    log.exception("fault", ValueError("wrong"))
    log.close()
    first, second = [json.loads(line) for line in (tmp_path / "log").read_text(encoding="utf-8").splitlines()]
    assert (first["event"], first["pid"], first["path"]) == ("start", 7, str(tmp_path))
    assert (second["error"], second["traceback"]) == ("ValueError: wrong", "ValueError: wrong\n")


def test_logs_to_standard_error_where_the_file_cannot_be_written_and_says_so(tmp_path: Path) -> None:
    log = JsonLog.to(tmp_path)  # a folder
    assert log.destination == f"standard error, as {tmp_path} cannot be written: Is a directory"
    assert JsonLog.to(None).destination == "standard error, as no log file is configured"
    assert log._stream is sys.stderr  # pyright: ignore[reportPrivateUsage]


def test_reads_the_manifest(staged_musicgen: Path) -> None:
    checkpoint = read_checkpoint(staged_musicgen)
    assert (checkpoint.model_id, checkpoint.size) == ("facebook/musicgen-small", "small")
    assert len(checkpoint.revision) == 40


@pytest.mark.parametrize(
    ("model_id", "size"),
    [("facebook/musicgen-stereo-large", "stereo-large"), ("me/My_Model/x", "x"), ("me/My_Model", "my-model")],
)
def test_takes_the_size_from_the_models_name(model_id: str, size: str) -> None:
    assert Checkpoint(Path(), model_id, "").size == size


@pytest.mark.parametrize(
    ("manifest", "sentence"),
    [
        ({"layout": 2}, "must have layout 1, got 2"),
        ({"layout": 1, "model_id": ""}, "must have a string model_id, got ''"),
        ({"layout": 1, "model_id": "a/b"}, "must have a string revision, got None"),
    ],
)
def test_refuses_a_manifest_that_it_cannot_read(tmp_path: Path, manifest: dict[str, Any], sentence: str) -> None:
    (tmp_path / "musicgen-manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    with pytest.raises(ValueError, match=sentence):
        read_checkpoint(tmp_path)


def test_refuses_a_folder_without_a_manifest(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="must be the staged model's manifest, got no such file"):
        read_checkpoint(tmp_path)


def test_numbers_seeds_from_the_request_modulo_2_to_the_32() -> None:
    assert seeds_of("any", 2**32 - 1, 3) == [2**32 - 1, 0, 1]


def test_derives_the_same_seed_from_the_same_inference_id() -> None:
    assert seeds_of("a", None, 2) == seeds_of("a", None, 2)
    assert seeds_of("a", None, 1) != seeds_of("b", None, 1)


def test_counts_the_starts_under_one_supervisor(tmp_path: Path) -> None:
    assert [count_start(tmp_path, 7), count_start(tmp_path, 7), count_start(tmp_path, 8)] == [1, 2, 1]
