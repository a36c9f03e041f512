"""Fetches a model with the execution role's rights as a container's /opt/ml/model: from a tarball or a prefix."""

import shutil
import tarfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any
from zlib import error as zlib_error

from botocore.exceptions import BotoCoreError, ClientError

from local_aws.sagemaker.endpoint_config import ModelData
from local_aws.sagemaker.instances.execution_role import RoleSession

_MAX_UNPACKED_BYTES = 64 * 2**30  # four times the largest staged model: stops a decompression bomb
_MAX_NAME_BYTES = 255  # of a file or a folder, where SageMaker makes files of objects


class ModelDataError(Exception):
    """The model cannot be fetched; the text is SageMaker's reason."""


class _Body(IO[bytes]):
    """An S3 object's body that calls `check` before each read."""

    def __init__(self, body: Any, check: Callable[[], None]) -> None:
        self._body = body
        self._check = check

    def read(self, size: int = -1) -> bytes:
        self._check()
        return self._body.read(size)


def fetch_model(
    data: ModelData, folder: Path, role: RoleSession, *, timeout: float, check_stopped: Callable[[], None]
) -> None:
    """Stream the model into `folder`, which must exist; nothing else is written to the disk.

    `timeout` (seconds) is ModelDataDownloadTimeoutInSeconds and covers download and unpacking. `check_stopped` is
    called between blocks and may raise. Raises ModelDataError, also for links, devices and paths outside `folder`.
    """
    deadline = time.monotonic() + timeout

    def check() -> None:
        check_stopped()
        if time.monotonic() > deadline:
            raise ModelDataError(
                f"The model data download took longer than ModelDataDownloadTimeoutInSeconds ({timeout:g})."
            )

    bucket, _, key = data.url.removeprefix("s3://").partition("/")
    try:
        s3 = role.client("s3")
        if data.prefix:
            _copy_files(s3, bucket, key, folder, check)
        else:
            with s3.get_object(Bucket=bucket, Key=key)["Body"] as body:
                _unpack(_Body(body, check), folder, data.url)
    except (ClientError, BotoCoreError) as error:
        raise ModelDataError(
            f'Failed to download model data from URL: "{data.url}". Please ensure that there is an object located at '
            f"the URL and that the role passed to CreateModel has permissions to download the object. ({error})"
        ) from error


def _copy_files(s3: Any, bucket: str, prefix: str, folder: Path, check: Callable[[], None]) -> None:
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    names = [item["Key"].removeprefix(prefix) for page in pages for item in page.get("Contents", [])]
    try:
        _check_names(names)
    except ValueError as error:
        raise ModelDataError(f'Failed to download model data from URL: "s3://{bucket}/{prefix}". {error}') from error
    for name in names:
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        with s3.get_object(Bucket=bucket, Key=prefix + name)["Body"] as body, target.open("xb") as file:
            shutil.copyfileobj(_Body(body, check), file)


def _check_names(names: list[str]) -> None:
    """Refuse what SageMaker refuses (API reference, S3ModelDataSource); raises ValueError.

    The object that the S3 console creates for a folder ends in a slash, so its last part is empty: refused as well.
    """
    if not names:
        raise ValueError("There is no object under the prefix.")
    files = set(names)
    for name in names:
        parts = name.split("/")
        if not all(part.strip() and part not in (".", "..") and "\0" not in part for part in parts):
            raise ValueError(f"{name!r} must have no part that is blank, '.', '..' or holds a null byte")
        if any(len(part.encode()) > _MAX_NAME_BYTES for part in parts):
            raise ValueError(f"{name!r:.80} must have no part longer than {_MAX_NAME_BYTES} bytes")
        for length in range(1, len(parts)):
            if (parent := "/".join(parts[:length])) in files:
                raise ValueError(f"{parent!r} must be a file or a folder, got both: {name!r}")


def _unpack(source: IO[bytes], folder: Path, url: str) -> None:
    unpacked = 0
    try:
        with tarfile.open(fileobj=source, mode="r|gz") as archive:
            for member in archive:
                if not (member.isfile() or member.isdir()):
                    raise tarfile.TarError(f"members must be files or folders, got {member.name!r}")
                unpacked += member.size
                if unpacked > _MAX_UNPACKED_BYTES:
                    raise tarfile.TarError(f"must unpack to at most {_MAX_UNPACKED_BYTES} bytes")
                archive.extract(member, folder, filter="data")
    except (tarfile.TarError, EOFError, zlib_error, BotoCoreError, OSError) as error:
        raise ModelDataError(f'Failed to extract model data archive from URL "{url}": {error}') from error
