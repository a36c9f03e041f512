"""A copy of a commit in S3: `s3://<bucket>/<prefix>/<model id>/<commit>/` holds its files and `listing.json`.

`listing.json` is the Hub's own answer to `/api/models/<id>/revision/<commit>?blobs=true`, so that a mirrored file is
checked against the same checksums as one from the Hub.
"""

from typing import TYPE_CHECKING

from stage_model.connections import Connections
from stage_model.errors import StagingError
from stage_model.hub_file import HubFile, Location
from stage_model.listing import parse_listing
from stage_model.patience import Patience, persist
from stage_model.repository import RepoFile
from stage_model.s3_objects import S3Objects

if TYPE_CHECKING:  # the stubs are a development tool; the Lambda has none
    from mypy_boto3_s3 import S3Client

LISTING = "listing.json"
_URL_LIFE_S = 3600


def folder_of(prefix: str, model_id: str, revision: str) -> str:
    """Return where a mirror keeps a commit: the beginning of its keys."""
    return "/".join(part for part in (prefix.strip("/"), model_id, revision) if part) + "/"


class S3Mirror:
    """One commit of one model repository, kept in S3."""

    def __init__(
        self, address: str, model_id: str, revision: str, client: "S3Client", connections: Connections,
        patience: Patience,
    ) -> None:  # fmt: skip
        self._bucket, _, prefix = address.removeprefix("s3://").partition("/")
        self._folder = folder_of(prefix, model_id, revision)
        self._name = f"model {model_id} at revision {revision} in {address}"
        self._revision = revision
        self._client, self._connections, self._patience = client, connections, patience

    def list_files(self) -> list[RepoFile]:
        """Return the files at the root. Raises StagingError when the mirror does not hold the commit."""
        key = self._folder + LISTING
        found = persist(self._patience, lambda: S3Objects(self._client, self._bucket).read(key))
        if found is None:
            raise StagingError(f"{self._name} must hold {LISTING}, got no such object")
        return parse_listing(found.data, self._name, self._revision)

    def open(self, file: RepoFile) -> HubFile:
        """Return a mirrored file for reading by ranges."""
        params = {"Bucket": self._bucket, "Key": self._folder + file.path}

        def sign() -> Location:
            url = self._client.generate_presigned_url("get_object", Params=params, ExpiresIn=_URL_LIFE_S)
            return Location(url, {}, signed=True)

        return HubFile(f"s3://{self._bucket}/{params['Key']}", file.size, self._connections, self._patience, sign)
