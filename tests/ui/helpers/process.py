"""The fake page as a process of its own."""

import os
import re
import signal
import subprocess
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from queue import Empty, Queue
from typing import IO

PROJECT = Path(__file__).parents[3]
PYTHON = PROJECT / ".venv-ui" / "bin" / "python"
STACK = "MusicGen-demo"
_START_SECONDS = 120.0  # on busy cores; about five on idle ones


def environment() -> dict[str, str]:
    """Return the variables of a process in the page's environment, without proxies and without AWS."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
    return {**kept, "PYTHONPATH": f"{PROJECT}{os.pathsep}{PROJECT / 'client'}", "PYTHONUNBUFFERED": "1"}


def _read(stream: IO[str], lines: Queue[str]) -> None:
    for line in stream:
        lines.put(line)


@contextmanager
def fake_page(**variables: str) -> Generator[str, None, None]:
    """Run the fake page, and yield its address; end it by Ctrl-C, which must not fail."""
    assert PYTHON.exists(), f"{PYTHON} must exist: make test-ui creates it"
    process = subprocess.Popen(
        [str(PYTHON), "-m", "tests.ui.helpers.fake_page", "--no-browser"],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**environment(), **variables}, cwd=PROJECT,
    )  # fmt: skip
    lines: Queue[str] = Queue()
    output: list[str] = []
    assert process.stdout is not None
    reader = threading.Thread(target=_read, args=(process.stdout, lines))
    reader.start()
    try:
        while not (found := re.search(r"the page is at (http://127\.0\.0\.1:\d+/)", output[-1] if output else "")):
            try:
                output.append(lines.get(timeout=_START_SECONDS))
            except Empty as error:
                raise AssertionError(f"no page in {_START_SECONDS:g} s:\n{''.join(output)}") from error
        yield found[1]
    finally:
        process.send_signal(signal.SIGINT)
        try:
            code = process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise
        finally:
            reader.join(10)
            process.stdout.close()
    output += [lines.get() for _ in range(lines.qsize())]
    assert code == 0, f"the page ended with {code}:\n{''.join(output)}"
    assert "Traceback" not in "".join(output), "".join(output)
