"""The Python to synthesise a revision with: the running one where it holds the pinned versions, else one of its own."""

import hashlib
import importlib.metadata
import re
import shutil
import subprocess
import sys
from pathlib import Path

from stack_gate.errors import GateError

REQUIREMENTS = "requirements.txt"
_PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)", re.MULTILINE)


def python_for(source: Path, cache: Path) -> Path:
    """The interpreter to synthesise `source` with. GateError, with pip's words, where its pins cannot be installed."""
    requirements = source / REQUIREMENTS
    if not requirements.is_file():
        raise GateError(f"{REQUIREMENTS} must be in the revision, to say what synthesises it")
    if not _differs(requirements.read_text(encoding="utf-8")):
        return Path(sys.executable)
    return _own_environment(requirements, cache)


def _differs(text: str) -> list[str]:
    """Pins that the running environment does not hold."""
    return [f"{name}=={version}" for name, version in _PIN.findall(text) if _installed(name) != version]


def _installed(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _own_environment(requirements: Path, cache: Path) -> Path:
    key = hashlib.sha256(requirements.read_bytes() + sys.version.encode()).hexdigest()[:20]
    folder = cache / "environments" / key
    python = folder / "bin" / "python"
    if (folder / ".complete").exists():
        return python
    shutil.rmtree(folder, ignore_errors=True)
    _run([sys.executable, "-m", "venv", str(folder)], "a virtual environment could not be made")
    command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", str(requirements)]
    _run(command, f"the revision's own {REQUIREMENTS} could not be installed")
    (folder / ".complete").touch()
    return python


def _run(command: list[str], failure: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise GateError(f"{failure}:\n{done.stderr.strip()[-2000:]}")
