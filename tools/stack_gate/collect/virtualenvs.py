"""The Python packages that a synth needs: a virtualenv with the revision's pins, and the staging Lambda's wheels."""

import ast
import hashlib
import importlib.metadata
import re
import shutil
import subprocess
import sys
from pathlib import Path

from stack_gate import GateError

APP_REQUIREMENTS = "requirements.txt"
LAMBDA_REQUIREMENTS = "lambda/requirements.txt"
_PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)", re.MULTILINE)
# The options of infra's PIP_OPTIONS that select wheels; the others only affect how pip installs them.
_SELECTING = ("--only-binary", "--implementation", "--python-version", "--platform", "--abi")
_QUIET = ("--quiet", "--disable-pip-version-check")


def python_for(source: Path, cache: Path) -> Path:
    """Return an interpreter with the revision's pinned packages.

    It is the running one if that has them, else that of a cached virtualenv. Raise GateError with pip's message if they
    cannot be installed.
    """
    requirements = source / APP_REQUIREMENTS
    if not requirements.is_file():
        raise GateError(f"the revision has no {APP_REQUIREMENTS}, which pins the packages that synthesise it")
    if all(_installed(name) == version for name, version in _PIN.findall(requirements.read_text(encoding="utf-8"))):
        return Path(sys.executable)
    key = hashlib.sha256(requirements.read_bytes() + sys.version.encode()).hexdigest()[:20]
    folder = cache / "environments" / key
    python = folder / "bin" / "python"
    if not (folder / ".complete").exists():
        shutil.rmtree(folder, ignore_errors=True)
        _run([sys.executable, "-m", "venv", str(folder)], "could not create a virtualenv")
        command = [str(python), "-m", "pip", "install", *_QUIET, "-r", str(requirements)]
        _run(command, f"could not install the revision's {APP_REQUIREMENTS}")
        (folder / ".complete").touch()
    return python


def _installed(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def wheel_variables(source: Path, python: Path, cache: Path) -> dict[str, str]:
    """Return the environment variables that make pip find the staging Lambda's wheels without network.

    Download missing wheels into `cache`, keyed by what pins them; pip checks their hashes again at every synth. Return
    {} if the revision bundles no wheels or does not pin their hashes. Raise GateError if they cannot be downloaded.
    """
    requirements = source / LAMBDA_REQUIREMENTS
    options = pip_options(source)
    if options is None or not requirements.is_file() or "--hash=" not in requirements.read_text(encoding="utf-8"):
        return {}
    selecting = [option for option in options if option.startswith(_SELECTING)]
    digest = hashlib.sha256("\0".join(selecting).encode() + requirements.read_bytes()).hexdigest()[:20]
    folder = cache / "wheels" / digest
    if not (folder / ".complete").exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        files = ["--require-hashes", f"--dest={folder}", f"--requirement={requirements}"]
        command = [str(python), "-m", "pip", "download", *selecting, *_QUIET, "--no-input", *files]
        try:
            _run(command, f"could not download the wheels of {LAMBDA_REQUIREMENTS} to {folder.parent}")
        except GateError:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        (folder / ".complete").touch()
    return {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(folder)}


def pip_options(source: Path) -> tuple[str, ...] | None:
    """Return the PIP_OPTIONS that a module of infra/ assigns, without running it; None if there are none."""
    for path in sorted((source / "infra").rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        for node in ast.parse(text).body if "PIP_OPTIONS = " in text else ():
            if isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == ["PIP_OPTIONS"]:
                return tuple(str(option) for option in ast.literal_eval(node.value))
    return None


def _run(command: list[str], failure: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise GateError(f"{failure}:\n{done.stderr.strip()[-2000:]}")
