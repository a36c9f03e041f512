"""Signing the requests that carry parts: the address comes from boto3 once, the signature from botocore's signer.

`generate_presigned_url` takes over a millisecond, most of it to find the same address again.
"""

from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit, urlunsplit

import boto3
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest

from stage_model.errors import StagingError
from stage_model.store import Upload

if TYPE_CHECKING:  # the stubs are a development tool; the Lambda has none
    from mypy_boto3_s3 import S3Client


class PartSigner:
    """Signs `UploadPart` requests for one bucket. The body is not signed: its CRC-32 is, and S3 checks it."""

    def __init__(self, client: "S3Client", bucket: str) -> None:
        self._client = client
        self._bucket = bucket
        self._session = boto3.DEFAULT_SESSION or boto3.Session()  # the client's
        self._addresses: dict[str, str] = {}

    def sign_part(self, upload: Upload, number: int, checksum: str) -> tuple[str, dict[str, str]]:
        """Return the URL and the headers to PUT a part to; `checksum` is its CRC-32 as S3 writes it."""
        query = f"partNumber={number}&uploadId={quote(upload.upload_id, safe='')}"
        headers = {"x-amz-checksum-crc32": checksum, "X-Amz-Content-SHA256": "UNSIGNED-PAYLOAD"}
        request = AWSRequest("PUT", f"{self._address(upload.key)}?{query}", headers)
        request.context["payload_signing_enabled"] = False
        self._auth().add_auth(request)
        return str(request.url), dict(request.headers.items())

    def _auth(self) -> S3SigV4Auth:
        """Return a signer with the role's present credentials, which are renewed while a long run goes on."""
        credentials = self._session.get_credentials()
        if credentials is None:
            raise StagingError("the function's role must have credentials, got none")
        return S3SigV4Auth(credentials.get_frozen_credentials(), "s3", self._client.meta.region_name)

    def _address(self, key: str) -> str:
        if key not in self._addresses:
            params = {"Bucket": self._bucket, "Key": key, "UploadId": "-", "PartNumber": 1}
            parts = urlsplit(self._client.generate_presigned_url("upload_part", Params=params))
            self._addresses[key] = urlunsplit((parts.scheme, parts.netloc, parts.path, "", ""))
        return self._addresses[key]
