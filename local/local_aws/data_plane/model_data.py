"""Fetches a model's tarball with the execution role's rights and unpacks it as a container's /opt/ml/model."""
# pyright: reportUnknownMemberType=false

import tarfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any
from zlib import error as zlib_error

from botocore.exceptions import BotoCoreError, ClientError

from local_aws.data_plane.errors import ProvisioningError
from local_aws.data_plane.role import RoleSession

_MAX_UNPACKED_BYTES = 64 * 2**30  # four times the largest staged model; a bomb stops here


def fetch_model(
    url: str, folder: Path, role: RoleSession, *, timeout: float, check_stopped: Callable[[], None]
) -> None:
    """Streams the tar.gz at `url` (s3://bucket/key) into `folder`, which must exist; nothing else touches the disk.

    `timeout` (seconds) is ModelDataDownloadTimeoutInSeconds and covers download and unpacking. `check_stopped` is
    called between blocks and may raise. Links, devices and paths outside `folder` are refused.

    Raises ProvisioningError.
    """
    bucket, _, key = url.removeprefix("s3://").partition("/")
    deadline = time.monotonic() + timeout
    try:
        body = role.client("s3").get_object(Bucket=bucket, Key=key)["Body"]
    except (ClientError, BotoCoreError) as error:
        raise ProvisioningError(
            f'Failed to download model data from URL: "{url}". Please ensure that there is an object located at the '
            f"URL and that the role passed to CreateModel has permissions to download the object. ({error})"
        ) from error
    with body:
        try:
            _unpack(_Bounded(body, deadline, timeout, check_stopped), folder)
        except (tarfile.TarError, EOFError, zlib_error, BotoCoreError, OSError) as error:
            raise ProvisioningError(f'Failed to extract model data archive from URL "{url}": {error}') from error


def _unpack(source: "_Bounded", folder: Path) -> None:
    unpacked = 0
    with tarfile.open(fileobj=source, mode="r|gz") as archive:  # type: ignore[arg-type]  # only read() is used
        for member in archive:
            if not (member.isfile() or member.isdir()):
                raise tarfile.TarError(f"members must be files or folders, got {member.name!r}")
            unpacked += member.size
            if unpacked > _MAX_UNPACKED_BYTES:
                raise tarfile.TarError(f"must unpack to at most {_MAX_UNPACKED_BYTES} bytes")
            archive.extract(member, folder, filter="data")


class _Bounded(IO[bytes]):
    """Reads from an S3 body until a deadline."""

    def __init__(self, body: Any, deadline: float, timeout: float, check_stopped: Callable[[], None]) -> None:
        self._body = body
        self._deadline = deadline
        self._timeout = timeout
        self._check_stopped = check_stopped

    def read(self, size: int = -1) -> bytes:
        self._check_stopped()
        if time.monotonic() > self._deadline:
            raise ProvisioningError(
                f"The model data download took longer than ModelDataDownloadTimeoutInSeconds ({self._timeout:g})."
            )
        return self._body.read(size)
