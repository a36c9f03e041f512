"""Unpack a function's zip, and replace compiled packages that cannot be loaded here by the installed ones."""

import io
import shutil
import sys
import threading
import zipfile
from importlib import metadata
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path, PurePosixPath

_MAX_UNZIPPED_BYTES = 262_144_000  # Lambda's limit
_ELF_MAGIC = b"\x7fELF"
_lock = threading.Lock()


class DeploymentPackageError(Exception):
    """The function's zip cannot be run here."""


def extract(archive: bytes, digest: str, runtime: str, folder: Path) -> Path:
    """Unpack `archive` under `folder`, once per `digest`, and return the path."""
    name = "".join(letter if letter.isalnum() else "_" for letter in digest)
    target = folder / name
    with _lock:
        if not target.exists():
            draft = folder / f"{name}.draft"
            shutil.rmtree(draft, ignore_errors=True)
            draft.mkdir(parents=True)
            with zipfile.ZipFile(io.BytesIO(archive)) as file:
                size = sum(member.file_size for member in file.infolist())
                if size > _MAX_UNZIPPED_BYTES:
                    raise DeploymentPackageError(
                        f"the unzipped function must be at most {_MAX_UNZIPPED_BYTES} bytes, got {size}"
                    )
                file.extractall(draft)  # zipfile keeps members inside the target
            if runtime.startswith("python"):
                use_installed_packages(draft)
            draft.rename(target)
    return target


def use_installed_packages(task: Path) -> list[str]:
    """Remove every package whose extension modules this interpreter cannot load; return the distributions' names.

    Raise DeploymentPackageError unless exactly the same version is installed here, so that AWS runs the same code.
    """
    removed: list[str] = []
    for info in sorted(task.glob("*.dist-info")):
        distribution = metadata.PathDistribution(info)
        # A RECORD also lists scripts as `../../bin/…`, which are not part of the package.
        files = [PurePosixPath(str(file)) for file in distribution.files or []]
        files = [file for file in files if not file.is_absolute() and ".." not in file.parts]
        if any(_is_foreign(task / file) for file in files):
            _require_installed(distribution)
            removed.append(distribution.metadata["Name"])
            for path in {task / file.parts[0] for file in files}:
                if path.is_dir():
                    shutil.rmtree(path)
                else:
                    path.unlink(missing_ok=True)
    return removed


def _is_foreign(path: Path) -> bool:
    """Return whether `path` is an extension module for another Python or processor."""
    if path.suffix != ".so" or not path.is_file():
        return False
    tagged = tuple(suffix for suffix in EXTENSION_SUFFIXES if suffix != ".so")
    loadable = path.name.endswith(tagged) or "." not in path.stem
    return not loadable or _elf_machine(path) != _elf_machine(Path(sys.executable))


def _elf_machine(path: Path) -> bytes:
    """Return the processor that an ELF file is for; empty for any other file."""
    with path.resolve().open("rb") as file:
        header = file.read(20)
    return header[18:20] if header.startswith(_ELF_MAGIC) else b""


def _require_installed(wanted: metadata.PathDistribution) -> None:
    name = wanted.metadata["Name"]
    try:
        found = metadata.version(name)
    except metadata.PackageNotFoundError:
        found = "none"
    if found != wanted.version:
        raise DeploymentPackageError(
            f"{name} must be installed here as {wanted.version}, the version in the function's zip, whose compiled "
            f"files are for another Python or processor; got {found}"
        )
