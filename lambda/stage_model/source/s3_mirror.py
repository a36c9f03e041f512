"""A copy of a commit in S3: `s3://<bucket>/<prefix>/<model id>/<commit>/` holds its files and `listing.json`.

`listing.json` is the Hub's response to `/api/models/<id>/revision/<commit>?blobs=true`, so mirrored files are verified
against the same checksums as those from the Hub.
"""

from typing import TYPE_CHECKING

from stage_model.errors import StagingError
from stage_model.http import Connections
from stage_model.retry import RetryBudget, retry
from stage_model.s3 import read_object
from stage_model.source.hub import Location, RemoteFile
from stage_model.source.repository_listing import RepoFile, parse_listing

if TYPE_CHECKING:  # the stubs are a development dependency
    from mypy_boto3_s3 import S3Client

LISTING = "listing.json"
_URL_EXPIRES_S = 3600


def mirror_prefix(prefix: str, model_id: str, revision: str) -> str:
    """Return the prefix of a mirrored commit's keys."""
    return "/".join(part for part in (prefix.strip("/"), model_id, revision) if part) + "/"


class S3Mirror:
    """A commit mirrored at `address`, of the form `s3://<bucket>/<prefix>`."""

    def __init__(
        self, address: str, model_id: str, revision: str, client: "S3Client", connections: Connections,
        budget: RetryBudget,
    ) -> None:  # fmt: skip
        self._bucket, _, prefix = address.removeprefix("s3://").partition("/")
        self._prefix = mirror_prefix(prefix, model_id, revision)
        self._name = f"model {model_id} at revision {revision} in {address}"
        self._revision = revision
        self._client, self._connections, self._budget = client, connections, budget

    def list_files(self) -> list[RepoFile]:
        """Return the files at the root. Raises StagingError if the mirror does not hold the commit."""
        found = retry(self._budget, lambda: read_object(self._client, self._bucket, self._prefix + LISTING))
        if found is None:
            raise StagingError(f"{self._name} must hold {LISTING}, got no such object")
        return parse_listing(found.data, self._name, self._revision)

    def open(self, file: RepoFile) -> RemoteFile:
        params = {"Bucket": self._bucket, "Key": self._prefix + file.path}

        def sign() -> Location:
            url = self._client.generate_presigned_url("get_object", Params=params, ExpiresIn=_URL_EXPIRES_S)
            return Location(url, signed=True)

        return RemoteFile(f"s3://{self._bucket}/{params['Key']}", file.size, self._connections, self._budget, sign)
