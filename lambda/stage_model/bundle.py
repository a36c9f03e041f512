"""The inference bundle: the zip that `cdk deploy` uploads, read in memory and within bounds."""

import io
import re
import zipfile
import zlib

from stage_model.errors import StagingError

_MAX_TOTAL = 32 << 20  # bytes, unpacked: the bundle is source code
_MAX_FILES = 1000
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")
_SYMLINK = 0xA  # the file type in a Unix mode's top four bits


def read_bundle(data: bytes) -> dict[str, bytes]:
    """Return the zip's files by path, sorted.

    Raises StagingError for anything that is not a modest zip of regular files with plain relative paths.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = [info for info in archive.infolist() if not info.is_dir()]
            _check_members(members)
            return {info.filename: _read(archive, info) for info in sorted(members, key=lambda i: i.filename)}
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError) as error:
        raise StagingError(f"the bundle must be a zip file, got {error}") from error


def _check_members(members: list[zipfile.ZipInfo]) -> None:
    if not 0 < len(members) <= _MAX_FILES:
        raise StagingError(f"the bundle must hold 1 to {_MAX_FILES} files, got {len(members)}")
    total = sum(info.file_size for info in members)
    if total > _MAX_TOTAL:
        raise StagingError(f"the bundle must unpack to at most {_MAX_TOTAL} bytes, got {total}")
    names = [info.filename for info in members]
    if len(set(names)) != len(names):
        raise StagingError("the bundle must name every file once")
    for info in members:
        _check_member(info)


def _check_member(info: zipfile.ZipInfo) -> None:
    if not all(_NAME.fullmatch(part) for part in info.filename.split("/")):
        raise StagingError(f"the bundle's paths must be plain and relative, got {info.filename!r}")
    if info.filename.lower().rpartition("/")[2] == "manifest.json":
        raise StagingError(
            f"the bundle must hold no manifest.json, which stops multi-model-server, got {info.filename}"
        )
    if info.external_attr >> 28 == _SYMLINK:
        raise StagingError(f"the bundle must hold regular files, got the link {info.filename!r}")


def _read(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    with archive.open(info) as file:
        data = file.read(info.file_size + 1)  # a header may lie about the size; zipfile checks the CRC at the end
    if len(data) != info.file_size:
        raise StagingError(f"the bundle's {info.filename} must be {info.file_size} bytes, got more")
    return data
