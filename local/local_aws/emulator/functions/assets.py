"""A function's zip on disk; compiled packages that cannot be loaded here are taken from this environment instead."""

from __future__ import annotations

import io
import shutil
import sys
import threading
import zipfile
from importlib import metadata
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path, PurePosixPath

_LARGEST_BYTES = 262_144_000  # Lambda's limit of an unzipped deployment package
_ELF_MAGIC = b"\x7fELF"
_lock = threading.Lock()


class AssetError(Exception):
    """The function's zip cannot be run here."""


def extract(archive: bytes, digest: str, runtime: str, folder: Path) -> Path:
    """The folder with the contents of `archive`, made once per `digest` under `folder`."""
    name = "".join(letter if letter.isalnum() else "_" for letter in digest)
    target = folder / name
    with _lock:
        if not target.exists():
            draft = folder / f"{name}.draft"
            shutil.rmtree(draft, ignore_errors=True)
            draft.mkdir(parents=True)
            _unzip(archive, draft)
            if runtime.startswith("python"):
                take_local_packages(draft)
            draft.rename(target)
    return target


def _unzip(archive: bytes, target: Path) -> None:
    with zipfile.ZipFile(io.BytesIO(archive)) as file:
        size = sum(member.file_size for member in file.infolist())
        if size > _LARGEST_BYTES:
            raise AssetError(f"the unzipped function must be at most {_LARGEST_BYTES} bytes, got {size}")
        file.extractall(target)  # zipfile itself keeps members inside the target


def take_local_packages(task: Path) -> list[str]:
    """Remove every package with an extension that this interpreter cannot load; return the distributions' names.

    AssetError unless exactly the same version is installed here, so that what runs is what would run on AWS.
    """
    taken: list[str] = []
    for info in sorted(task.glob("*.dist-info")):
        distribution = metadata.PathDistribution(info)
        files = _files_inside(distribution)
        if any(_is_foreign(task / file) for file in files):
            taken.append(_require_here(distribution))
            for top in {file.parts[0] for file in files}:
                _remove(task / top)
    return taken


def _files_inside(distribution: metadata.PathDistribution) -> list[PurePosixPath]:
    """The distribution's files within the folder: a record also lists scripts as `../../bin/…`, which are not ours."""
    files = [PurePosixPath(str(file)) for file in distribution.files or []]
    return [file for file in files if not file.is_absolute() and ".." not in file.parts]


def _is_foreign(path: Path) -> bool:
    if path.suffix != ".so" or not path.is_file():
        return False
    ours = path.name.endswith(tuple(suffix for suffix in EXTENSION_SUFFIXES if suffix != ".so")) or "." not in path.stem
    return not ours or _machine(path) != _machine(Path(sys.executable))


def _machine(path: Path) -> bytes:
    """The processor that an ELF file is for; empty for any other file."""
    with path.resolve().open("rb") as file:
        header = file.read(20)
    return header[18:20] if header.startswith(_ELF_MAGIC) else b""


def _require_here(wanted: metadata.PathDistribution) -> str:
    """The distribution's name; AssetError unless this environment has the very same version."""
    name = wanted.metadata["Name"]
    try:
        found = metadata.version(name)
    except metadata.PackageNotFoundError:
        found = "none"
    if found != wanted.version:
        raise AssetError(
            f"{name} must be installed here as {wanted.version}, the version in the function's zip, whose compiled "
            f"files are for another Python or processor; got {found}"
        )
    return name


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    elif path.exists():
        path.unlink()
