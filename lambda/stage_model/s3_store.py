"""One S3 bucket: boto3 for control, plain HTTP for parts, which are nearly all of the bytes."""

# pyright: reportUnknownMemberType=false
# boto3.client is overloaded for every service, most of them without installed stubs.
import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from stage_model.checksums import s3_checksum
from stage_model.connections import Connections, Request, raise_if_busy
from stage_model.errors import StagingError, TransientError
from stage_model.store import StoredPart, Upload

if TYPE_CHECKING:  # the stubs are a development tool; the Lambda has none
    from mypy_boto3_s3 import S3Client

T = TypeVar("T")
_ABSENT = frozenset({"404", "NoSuchKey", "NotFound", "NoSuchUpload"})
_RETRYABLE = frozenset(
    {"SlowDown", "InternalError", "RequestTimeout", "ConditionalRequestConflict", "OperationAborted"}
)
_URL_LIFE_S = 3600


def s3_client() -> "S3Client":
    """Return the client of the function's own region and role; `AWS_ENDPOINT_URL` and `AWS_CA_BUNDLE` are honoured."""
    retries = {"mode": "standard", "total_max_attempts": 4}
    config = Config(signature_version="s3v4", retries=retries, connect_timeout=10, read_timeout=60)  # pyright: ignore[reportArgumentType] - the stub asks for its own TypedDict
    return boto3.client("s3", region_name=os.environ.get("AWS_REGION"), config=config)


def read_object(client: "S3Client", bucket: str, key: str, limit: int) -> bytes:
    """Return an object of at most `limit` bytes. Raises StagingError or TransientError."""

    def read() -> bytes:
        body = client.get_object(Bucket=bucket, Key=key)["Body"]
        return body.read(limit + 1)

    data = _translated(f"reading s3://{bucket}/{key}", read)
    if len(data) > limit:
        raise StagingError(f"s3://{bucket}/{key} must be at most {limit} bytes, got more")
    return data


class S3Store:
    """A bucket of S3; see `Store` for the methods."""

    def __init__(self, client: "S3Client", bucket: str, connections: Connections) -> None:
        self._client = client
        self._bucket = bucket
        self._connections = connections

    def size_of(self, key: str) -> int | None:
        """Return an object's length in bytes, or None if there is no such object."""

        def head() -> int | None:
            try:
                return self._client.head_object(Bucket=self._bucket, Key=key)["ContentLength"]
            except ClientError as error:
                if _code(error) in _ABSENT:
                    return None
                raise

        return _translated(f"looking for {key}", head)

    def create_upload(self, key: str) -> Upload:
        """Begin a multipart upload whose CRC-32 is of the whole object."""

        def create() -> Upload:
            answer = self._client.create_multipart_upload(
                Bucket=self._bucket, Key=key, ChecksumAlgorithm="CRC32", ChecksumType="FULL_OBJECT"
            )
            return Upload(key, answer["UploadId"])

        return _translated(f"beginning {key}", create)

    def put_part(self, upload: Upload, number: int, data: memoryview, crc: int) -> StoredPart:
        """Upload one part over this thread's own connection; S3 checks its CRC-32."""
        checksum = s3_checksum(crc)
        url = self._client.generate_presigned_url(
            "upload_part",
            Params={
                "Bucket": self._bucket, "Key": upload.key, "UploadId": upload.upload_id,
                "PartNumber": number, "ChecksumCRC32": checksum,
            },
            ExpiresIn=_URL_LIFE_S,
        )  # fmt: skip
        headers = {"Content-Length": str(len(data)), "x-amz-checksum-crc32": checksum}
        with self._connections.exchange(Request("PUT", url, headers, data)) as response:
            raise_if_busy(response, "S3")
            body = response.read(65536)
            if response.status != 200:
                raise _part_error(response.status, body)
            etag = response.headers.get("ETag", "")
        return StoredPart(number, etag, crc, len(data))

    def complete(self, upload: Upload, parts: Sequence[StoredPart], crc: int, size: int) -> None:
        """Make the object from its parts. An object that is there already stays; its size must be this one."""

        def finish() -> None:
            self._client.complete_multipart_upload(
                Bucket=self._bucket, Key=upload.key, UploadId=upload.upload_id, IfNoneMatch="*",
                ChecksumCRC32=s3_checksum(crc), ChecksumType="FULL_OBJECT", MpuObjectSize=size,
                MultipartUpload={
                    "Parts": [
                        {"PartNumber": p.number, "ETag": p.etag, "ChecksumCRC32": s3_checksum(p.crc)} for p in parts
                    ]
                },
            )  # fmt: skip

        try:
            _translated(f"completing {upload.key}", finish)
        except StagingError:
            # An earlier attempt whose answer was lost, or another run, may have completed the same bytes.
            if self.size_of(upload.key) != size:
                raise

    def abort(self, upload: Upload) -> None:
        """Drop an upload and its parts; one that no longer exists is no error."""

        def drop() -> None:
            try:
                self._client.abort_multipart_upload(Bucket=self._bucket, Key=upload.key, UploadId=upload.upload_id)
            except ClientError as error:
                if _code(error) not in _ABSENT:
                    raise

        _translated(f"aborting {upload.key}", drop)

    def delete(self, key: str) -> None:
        """Delete an object; one that does not exist is no error."""
        _translated(f"deleting {key}", lambda: self._client.delete_object(Bucket=self._bucket, Key=key))

    def unfinished_uploads(self, prefix: str) -> list[Upload]:
        """Return the unfinished uploads under a prefix."""

        def uploads() -> list[Upload]:
            pages = self._client.get_paginator("list_multipart_uploads").paginate(Bucket=self._bucket, Prefix=prefix)
            found = [upload for page in pages for upload in page.get("Uploads", [])]
            return [Upload(u["Key"], u["UploadId"]) for u in found if "Key" in u and "UploadId" in u]

        # The prefix is checked here too: what is returned will be dropped.
        return [u for u in _translated(f"listing uploads under {prefix}", uploads) if u.key.startswith(prefix)]


def _translated(what: str, call: Callable[[], T]) -> T:
    try:
        return call()
    except ClientError as error:
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        message = f"{what} failed: {_code(error)}: {error.response.get('Error', {}).get('Message', '')}"
        if status >= 500 or _code(error) in _RETRYABLE:
            raise TransientError(message) from error
        raise StagingError(message) from error
    except (BotoCoreError, OSError) as error:
        raise TransientError(f"{what} failed: {error}") from error


def _code(error: ClientError) -> str:
    return error.response.get("Error", {}).get("Code", "")


def _part_error(status: int, body: bytes) -> Exception:
    text = body.decode("utf-8", "replace")
    code = text.partition("<Code>")[2].partition("</Code>")[0]
    # A part damaged on its way (BadDigest, InvalidDigest) is sent again; it is right in memory.
    if code in _RETRYABLE or "Digest" in code or code == "ExpiredToken":
        return TransientError(f"S3 answered {status} {code} to a part")
    return StagingError(f"S3 must take a part with 200, got {status} {code}")
