"""The log of JSON lines."""

import contextlib
import errno
import io
import json
import os
import sys
from pathlib import Path
from typing import Any, TextIO

import pytest

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


class FailingStream(io.StringIO):
    """A stream whose first write raises."""

    def __init__(self, failure: BaseException) -> None:
        super().__init__()
        self._failure: BaseException | None = failure

    def write(self, text: str, /) -> int:
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure
        return super().write(text)


FAILURES = (BrokenPipeError(errno.EPIPE, "Broken pipe"), OSError(errno.ENOSPC, "No space left"), MemoryError())


@pytest.mark.parametrize("failure", FAILURES, ids=repr)
def test_a_line_that_cannot_be_written_is_counted_in_the_next(failure: BaseException) -> None:
    stream = FailingStream(failure)
    log = JsonLog(stream, "memory")
    for name in ("lost", "written", "as usual"):
        log.write(name)
    first, second = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert (first["event"], first["lost_lines"]) == ("written", 1)
    assert second["event"] == "as usual" and "lost_lines" not in second


@pytest.mark.parametrize("stream", ["closed", "full", "broken pipe"])
def test_a_real_stream_that_cannot_be_written_raises_nothing(stream: str, tmp_path: Path) -> None:
    file = _unwritable(stream, tmp_path)
    log = JsonLog(file, stream)
    for _ in range(3):
        log.write("engine", text="x" * 10_000)
        log.exception("fault", ValueError("wrong"))
    assert log._lost_lines == 6  # pyright: ignore[reportPrivateUsage]
    with contextlib.suppress(OSError):  # closing writes what is buffered
        file.close()


def _unwritable(kind: str, folder: Path) -> TextIO:
    if kind == "full":
        return Path("/dev/full").open("w", encoding="ascii")
    if kind == "closed":
        file = (folder / "log").open("w", encoding="ascii")
        file.close()
        return file
    reading, writing = os.pipe()
    os.close(reading)
    return os.fdopen(writing, "w", encoding="ascii")


class Unprintable:
    """A value whose every representation raises."""

    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__


class UnprintableError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


def cycle() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


VALUES = {
    "NaN": (float("nan"), "nan"),
    "a cycle": (cycle(), "[[...]]"),
    "a key that is no string": ({(1, 2): 3}, "{(1, 2): 3}"),
    "unprintable": (Unprintable(), "a Unprintable without a repr"),
    "a lone surrogate": ("\ud800é", "\ud800é"),
}


@pytest.mark.parametrize("case", VALUES)
def test_writes_any_value_as_strict_json_beside_the_other_fields(case: str) -> None:
    value, shown = VALUES[case]
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii", write_through=True)
    JsonLog(stream, "memory").write("engine", value=value, steps=3)
    stream.seek(0)

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    line = json.loads(stream.read(), parse_constant=refuse)
    assert (line["event"], line["value"], line["steps"]) == ("engine", shown, 3)


def test_logs_an_exception_whose_message_raises() -> None:
    stream = io.StringIO()
    JsonLog(stream, "memory").exception("fault", UnprintableError())
    line = json.loads(stream.getvalue())
    assert line["error"] == "UnprintableError" and line["traceback"] == "could not be formatted: RuntimeError"
