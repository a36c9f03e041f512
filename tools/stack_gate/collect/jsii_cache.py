"""Home folders in which jsii, CDK's bridge to Node, need not unpack its packages again.

Unpacking aws-cdk-lib and cdk-nag takes more processor time and memory than a synth. No revision may write what another
one runs, so one folder is filled by the installed packages alone, in a sandbox, and every synth gets a copy.
"""

import hashlib
import importlib.metadata
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

from stack_gate import GateError
from stack_gate.collect import sandbox

TIMEOUT_SECONDS = 240
_SCRIPT = Path(__file__).with_name("load_jsii.py")
_lock = threading.Lock()


def fill_home(home: Path, cache: Path) -> None:
    """Make a home folder with the unpacked packages. It stays empty if they could not be unpacked beforehand."""
    with _lock:
        source = _unpacked(cache)
    home.mkdir(parents=True, exist_ok=True)
    if source is not None:
        # Not shutil.copytree: 8,000 files take it ten times as long.
        subprocess.run(["cp", "-R", "--reflink=auto", f"{source}/.", str(home)], check=True, capture_output=True)


def _unpacked(cache: Path) -> Path | None:
    """Return the folder for the installed packages, filled once; None if that fails."""
    folder = cache / "jsii" / _key()
    if folder.exists():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="stack-gate-", dir=folder.parent) as scratch:
        home = Path(scratch) / "home"
        home.mkdir()
        try:
            done = sandbox.run(
                [sys.executable, "-P", "-s", str(_SCRIPT)],
                folder=_SCRIPT.parent,
                variables=variables(home),
                read_only=[_SCRIPT.parent],
                writable=[home],
                timeout_seconds=TIMEOUT_SECONDS,
            )
        except GateError:
            return None
        if done.code != 0:
            return None
        try:
            home.replace(folder)
        except OSError:  # another run with this cache was faster
            if not folder.exists():
                raise
    for old in folder.parent.iterdir():
        if old != folder and old.name.isalnum():
            shutil.rmtree(old, ignore_errors=True)
    return folder


def variables(home: Path) -> dict[str, str]:
    """Return the environment variables of a process that uses jsii with this home folder."""
    node = shutil.which("node")
    programs = [str(Path(sys.executable).parent), *([] if node is None else [str(Path(node).parent)])]
    return {
        "PATH": os.pathsep.join([*programs, "/usr/local/bin", "/usr/bin", "/bin"]),
        "HOME": str(home),
        "TMPDIR": "/tmp",
        "LANG": "C.UTF-8",
        "JSII_RUNTIME_PACKAGE_CACHE": "enabled",
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def _key() -> str:
    found = sorted(f"{one.name} {one.version}" for one in importlib.metadata.distributions())
    return hashlib.sha256("\0".join([sys.version, _SCRIPT.read_text(encoding="utf-8"), *found]).encode()).hexdigest()[
        :20
    ]
