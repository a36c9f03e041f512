"""The Python packages that a synth needs: the revision's pins for the app, and the staging Lambda's wheels.

Only wheels are used, which pip unpacks without running any of their code, and only lines that pin a name: a revision
names its own packages, so a source distribution, a URL, a local path or an index of its choice would be code of the
revision that runs outside the sandbox.
"""

import ast
import hashlib
import importlib.metadata
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from stack_gate import GateError

APP_REQUIREMENTS = "requirements.txt"
LAMBDA_REQUIREMENTS = "lambda/requirements.txt"
MAX_BYTES = 1 << 20
# The options of infra's PIP_OPTIONS that select wheels; the others only affect how pip installs them.
_SELECTING = ("--implementation", "--python-version", "--platform", "--abi")
_OPTION_VALUE = re.compile(r"--[a-z-]+=[A-Za-z0-9_.]+")
_ONLY_WHEELS = ("--only-binary=:all:", "--no-deps", "--quiet", "--disable-pip-version-check", "--no-input")
_PIN = re.compile(
    r"(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)==(?P<version>[A-Za-z0-9.!+_-]+)(?: *;[ A-Za-z0-9_.'\"<>=!()]*)?"
)
_HASH = re.compile(r"--hash=sha256:[0-9a-f]{64}")


@dataclass(frozen=True, kw_only=True)
class Packages:
    """Environment variables that make Python and pip find packages, and the folders that have them."""

    variables: dict[str, str] = field(default_factory=dict[str, str])
    folders: tuple[Path, ...] = ()


def collect_packages(source: Path, cache: Path) -> Packages:
    """Return what a revision's synth needs beyond the running Python. Raise GateError if pip fails."""
    app, wheels = app_packages(source, cache), staging_wheels(source, cache)
    return Packages(variables={**app.variables, **wheels.variables}, folders=(*app.folders, *wheels.folders))


def app_packages(source: Path, cache: Path) -> Packages:
    """Return the revision's pinned packages: nothing if the running Python has them, else a cached folder."""
    if not (source / APP_REQUIREMENTS).is_file():
        raise GateError(f"the revision has no {APP_REQUIREMENTS}, which pins the packages that synthesise it")
    pins = _read_pins(source / APP_REQUIREMENTS)
    if all(_installed(name) == version for name, version, _ in pins):
        return Packages()
    lines = [" ".join([f"{name}=={version}", *hashes]) for name, version, hashes in pins]
    folder = _filled(cache / "packages", [sys.version, *lines], ["install", "--target"], lines, APP_REQUIREMENTS)
    return Packages(variables={"PYTHONPATH": str(folder)}, folders=(folder,))


def uses_cdk(source: Path) -> bool:
    """Return whether a revision pins aws-cdk-lib."""
    return any(name.lower() == "aws-cdk-lib" for name, _, _ in _read_pins(source / APP_REQUIREMENTS))


def staging_wheels(source: Path, cache: Path) -> Packages:
    """Return what makes pip find the staging Lambda's wheels without network.

    Download missing wheels into `cache`, keyed by what pins them; pip checks their hashes again at every synth. Return
    nothing if the revision bundles no wheels or does not pin their hashes.
    """
    requirements = source / LAMBDA_REQUIREMENTS
    options = pip_options(source)
    if options is None or not requirements.is_file():
        return Packages()
    pins = _read_pins(requirements)
    if not all(hashes for _, _, hashes in pins):
        return Packages()
    selecting = [option for option in options if option.startswith(_SELECTING)]
    wrong = [option for option in selecting if not _OPTION_VALUE.fullmatch(option)]
    if wrong:
        raise GateError(
            f"PIP_OPTIONS must be plain values such as --platform=manylinux2014_aarch64, got {wrong[0][:80]!r}"
        )
    lines = [" ".join([f"{name}=={version}", *hashes]) for name, version, hashes in pins]
    command = ["download", *selecting, "--require-hashes", "--dest"]
    folder = _filled(cache / "wheels", [*selecting, *lines], command, lines, LAMBDA_REQUIREMENTS)
    return Packages(variables={"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(folder)}, folders=(folder,))


def pip_options(source: Path) -> tuple[str, ...] | None:
    """Return the PIP_OPTIONS that a module of infra/ assigns, without running it; None if there are none."""
    for path in sorted((source / "infra").rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        for node in ast.parse(text).body if "PIP_OPTIONS = " in text else ():
            if isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == ["PIP_OPTIONS"]:
                return tuple(str(option) for option in ast.literal_eval(node.value))
    return None


def _read_pins(requirements: Path) -> list[tuple[str, str, tuple[str, ...]]]:
    """Return name, version and hashes of every line. Raise GateError for a line that is anything but a pin."""
    if requirements.is_symlink() or requirements.stat().st_size > MAX_BYTES:
        raise GateError(f"{requirements.name} must be a file of at most {MAX_BYTES} bytes")
    pins: list[tuple[str, str, tuple[str, ...]]] = []
    for line in requirements.read_text(encoding="utf-8").replace("\\\n", " ").splitlines():
        text = re.sub(r"(^|\s)#.*", "", line).strip()
        if not text:
            continue
        pin, *hashes = re.split(r"\s+(?=--)", text)
        found = _PIN.fullmatch(pin.strip())
        if found is None or not all(map(_HASH.fullmatch, hashes)):
            raise GateError(
                f"{requirements.name} must pin every package as name==version, with hashes at most, got {text[:80]!r}"
            )
        pins.append((found["name"], found["version"], tuple(hashes)))
    return pins


def _installed(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _filled(cache: Path, key: list[str], command: list[str], lines: list[str], shown: str) -> Path:
    """Return the cache's folder for a key, filled by a pip command whose last option names it."""
    folder = cache / hashlib.sha256("\0".join(key).encode()).hexdigest()[:20]
    if (folder / ".complete").exists():
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="utf-8") as requirements:
        requirements.write("".join(f"{line}\n" for line in lines))
        requirements.flush()
        try:
            _run([sys.executable, "-m", "pip", *command, str(folder), *_ONLY_WHEELS, "-r", requirements.name], shown)
        except GateError:
            shutil.rmtree(folder, ignore_errors=True)
            raise
    (folder / ".complete").touch()
    return folder


def _run(command: list[str], shown: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise GateError(f"could not get the wheels that {shown} pins:\n{done.stderr.strip()[-2000:]}")
