"""The staging Lambda's wheels, kept by the hash of what pins them, so that a synth needs no network.

The requirements name a sha256 for every file, which pip checks at every synth; a folder here can only be right or
refused.
"""

import ast
import hashlib
import shutil
import subprocess
from pathlib import Path

from stack_gate.errors import GateError

REQUIREMENTS = Path("lambda/requirements.txt")
OPTIONS_SOURCE = Path("infra/staging_asset.py")
OPTIONS_NAME = "PIP_OPTIONS"
# What `pip install` takes beyond these concerns only how it installs.
CHOOSING = ("--only-binary", "--implementation", "--python-version", "--platform", "--abi")


def wheels_for(source: Path, python: Path, cache: Path) -> dict[str, str]:
    """pip's environment variables for a synth of `source`; downloads what is not there yet.

    Empty where the revision bundles no wheels, or does not pin them by hash: pip then asks its index. GateError with
    pip's words where they can neither be found nor fetched.
    """
    requirements = source / REQUIREMENTS
    options = pip_options(source / OPTIONS_SOURCE)
    if options is None or not requirements.is_file() or "--hash=" not in requirements.read_text(encoding="utf-8"):
        return {}
    choice = [option for option in options if option.startswith(CHOOSING)]
    digest = hashlib.sha256("\0".join(choice).encode() + requirements.read_bytes()).hexdigest()[:20]
    folder = cache / "wheels" / digest
    if not (folder / ".complete").exists():
        _download(folder, requirements, choice, python)
    return {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(folder)}


def pip_options(path: Path) -> tuple[str, ...] | None:
    """The options that the revision bundles with, read from its source and not by running it; None without any."""
    if not path.is_file():
        return None
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == [OPTIONS_NAME]:
            return tuple(str(option) for option in ast.literal_eval(node.value))
    return None


def _download(folder: Path, requirements: Path, choice: list[str], python: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    places = ["--require-hashes", f"--dest={folder}", f"--requirement={requirements}"]
    quiet = ["--quiet", "--disable-pip-version-check", "--no-input"]
    command = [str(python), "-m", "pip", "download", *choice, *quiet, *places]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        shutil.rmtree(folder, ignore_errors=True)
        raise GateError(
            f"the wheels of {REQUIREMENTS} are not in {folder.parent} and could not be fetched:\n"
            f"{done.stderr.strip()[-2000:]}"
        )
    (folder / ".complete").touch()
