"""Fetches a model with the execution role's rights as a container's /opt/ml/model: from a tarball or a prefix."""

import shutil
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any
from zlib import error as zlib_error

from botocore.exceptions import BotoCoreError, ClientError

from local_aws.sagemaker.bounded_body import BoundedBody, Limit
from local_aws.sagemaker.definition import ModelData
from local_aws.sagemaker.errors import ProvisioningError
from local_aws.sagemaker.role import RoleSession

_MAX_UNPACKED_BYTES = 64 * 2**30  # four times the largest staged model; a bomb stops here
_MAX_NAME_BYTES = 255  # of a file or a folder, where SageMaker makes files of objects


def fetch_model(
    data: ModelData, folder: Path, role: RoleSession, *, timeout: float, check_stopped: Callable[[], None]
) -> None:
    """Streams the model into `folder`, which must exist; nothing else touches the disk.

    `timeout` (seconds) is ModelDataDownloadTimeoutInSeconds and covers download and unpacking. `check_stopped` is
    called between blocks and may raise. Links, devices and paths outside `folder` are refused.

    Raises ProvisioningError.
    """
    limit = Limit(timeout, check_stopped)
    try:
        if data.prefix:
            _copy_files(data.url, folder, role, limit)
        else:
            _copy_tarball(data.url, folder, role, limit)
    except (ClientError, BotoCoreError) as error:
        raise ProvisioningError(
            f'Failed to download model data from URL: "{data.url}". Please ensure that there is an object located at '
            f"the URL and that the role passed to CreateModel has permissions to download the object. ({error})"
        ) from error


def _copy_tarball(url: str, folder: Path, role: RoleSession, limit: Limit) -> None:
    bucket, key = _place(url)
    with role.client("s3").get_object(Bucket=bucket, Key=key)["Body"] as body:
        try:
            _unpack(BoundedBody(body, limit), folder)
        except (tarfile.TarError, EOFError, zlib_error, BotoCoreError, OSError) as error:
            raise ProvisioningError(f'Failed to extract model data archive from URL "{url}": {error}') from error


def _copy_files(url: str, folder: Path, role: RoleSession, limit: Limit) -> None:
    bucket, prefix = _place(url)
    s3 = role.client("s3")
    keys = list(_keys(s3, bucket, prefix))
    if not keys:
        raise ProvisioningError(
            f'Failed to download model data from URL: "{url}". There is no object under the prefix.'
        )
    _check_names([key.removeprefix(prefix) for key in keys], url)
    for key in keys:
        target = folder / key.removeprefix(prefix)
        target.parent.mkdir(parents=True, exist_ok=True)
        with s3.get_object(Bucket=bucket, Key=key)["Body"] as body, target.open("xb") as file:
            shutil.copyfileobj(BoundedBody(body, limit), file)


def _keys(s3: Any, bucket: str, prefix: str) -> Iterator[str]:
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
        yield from (item["Key"] for item in page.get("Contents", []))


def _check_names(names: list[str], url: str) -> None:
    """Refuse what SageMaker refuses (API reference, S3ModelDataSource): odd names, and files that are folders too.

    An object that the S3 console makes for a folder ends in a slash, so its last part is empty: refused as well.
    """
    files = set(names)
    for name in names:
        parts = name.split("/")
        if not all(part.strip() and part not in (".", "..") and "\0" not in part for part in parts):
            raise _unfit(url, f"{name!r} must have no part that is blank, '.', '..' or holds a null byte")
        if any(len(part.encode()) > _MAX_NAME_BYTES for part in parts):
            raise _unfit(url, f"{name!r:.80} must have no part longer than {_MAX_NAME_BYTES} bytes")
        clash = next((folder for folder in _folders(parts) if folder in files), None)
        if clash is not None:
            raise _unfit(url, f"{clash!r} must be a file or a folder, got both: {name!r}")


def _folders(parts: list[str]) -> Iterator[str]:
    return ("/".join(parts[:length]) for length in range(1, len(parts)))


def _unfit(url: str, why: str) -> ProvisioningError:
    return ProvisioningError(f'Failed to download model data from URL: "{url}". {why}')


def _place(url: str) -> tuple[str, str]:
    bucket, _, key = url.removeprefix("s3://").partition("/")
    return bucket, key


def _unpack(source: IO[bytes], folder: Path) -> None:
    unpacked = 0
    with tarfile.open(fileobj=source, mode="r|gz") as archive:
        for member in archive:
            if not (member.isfile() or member.isdir()):
                raise tarfile.TarError(f"members must be files or folders, got {member.name!r}")
            unpacked += member.size
            if unpacked > _MAX_UNPACKED_BYTES:
                raise tarfile.TarError(f"must unpack to at most {_MAX_UNPACKED_BYTES} bytes")
            archive.extract(member, folder, filter="data")
