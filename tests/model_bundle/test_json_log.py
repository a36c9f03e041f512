"""The log of JSON lines."""

import json
import sys
from pathlib import Path

from musicgen_serving.json_log import JsonLog


def test_writes_whole_json_lines_to_a_file(tmp_path: Path) -> None:
    log = JsonLog.to(tmp_path / "log")
    log.write("start", pid=7, path=tmp_path)
    log.exception("fault", ValueError("wrong"))
    log.close()
    first, second = [json.loads(line) for line in (tmp_path / "log").read_text(encoding="utf-8").splitlines()]
    assert (first["event"], first["pid"], first["path"]) == ("start", 7, str(tmp_path))
    assert (second["error"], second["traceback"]) == ("ValueError: wrong", "ValueError: wrong\n")


def test_logs_to_standard_error_and_says_why_if_the_file_cannot_be_written(tmp_path: Path) -> None:
    log = JsonLog.to(tmp_path)  # a folder
    assert log.destination == f"standard error, as {tmp_path} cannot be written: Is a directory"
    assert JsonLog.to(None).destination == "standard error, as no log file is configured"
    assert log._stream is sys.stderr  # pyright: ignore[reportPrivateUsage]
