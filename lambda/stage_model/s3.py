# pyright: reportUnknownMemberType=false
# boto3.client is overloaded for every service, most of them without installed stubs.
"""S3 as staging uses it: the `Store` interface, its implementation on one bucket, and the mapping of AWS errors.

boto3 carries control requests; parts, nearly all of the bytes, go over `http.Connections`.
"""

import base64
import functools
import json
import os
import struct
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar
from urllib.parse import quote, urlsplit, urlunsplit

import boto3
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from stage_model.errors import ConflictError, StagingError, TransientError, UploadGoneError
from stage_model.http import Connections, Request, raise_if_retryable
from stage_model.retry import RetryBudget

if TYPE_CHECKING:  # the stubs are a development dependency
    from mypy_boto3_s3 import S3Client

T = TypeVar("T")
_ABSENT = frozenset({"404", "NoSuchKey", "NotFound"})
_RETRYABLE = frozenset({
    "SlowDown", "InternalError", "RequestTimeout", "ConditionalRequestConflict", "OperationAborted", "InvalidPart",
    "Throttling", "ThrottlingException", "RequestLimitExceeded",  # with status 400: KMS behind S3, Secrets Manager
})  # fmt: skip
CONNECT_TIMEOUT_S, READ_TIMEOUT_S = 5, 20
_MAX_OBJECT = 16 << 20  # bytes that `read` accepts: bundles and run records are far smaller


@dataclass(frozen=True)
class Upload:
    """An unfinished multipart upload."""

    key: str
    upload_id: str


@dataclass(frozen=True)
class StoredPart:
    """An uploaded part: number from 1, ETag, CRC-32 and length in bytes."""

    number: int
    etag: str
    crc: int
    length: int


@dataclass(frozen=True)
class Versioned:
    """A small object's bytes, and the ETag that identifies this version in a conditional write."""

    data: bytes
    etag: str


class Store(Protocol):
    """One bucket. Each method makes one attempt and raises TransientError if a retry may help, else StagingError.

    Methods that need an existing multipart upload raise UploadGoneError without it.
    """

    def size_of(self, key: str) -> int | None:
        """Return an object's length in bytes, or None if it does not exist."""
        ...

    def read(self, key: str) -> Versioned | None:
        """Return an object of at most 16 MiB, or None if it does not exist."""
        ...

    def write(self, key: str, data: bytes, replaces: str | None) -> str:
        """Replace the version with ETag `replaces`, or create the object if None; return the new ETag.

        Raises ConflictError if the object is in any other state.
        """
        ...

    def delete(self, key: str) -> None:
        """Delete an object if it exists."""
        ...

    def keys(self, prefix: str) -> list[str]:
        """Return the keys under a prefix."""
        ...

    def create_upload(self, key: str) -> Upload:
        """Start a multipart upload with a CRC-32 of the full object."""
        ...

    def put_part(self, upload: Upload, number: int, data: memoryview, crc: int) -> StoredPart:
        """Upload one part; the store verifies its CRC-32."""
        ...

    def matching_parts(self, upload: Upload, parts: Sequence[StoredPart]) -> Mapping[int, StoredPart]:
        """Return, by number and with their current ETags, those of `parts` whose bytes the store holds."""
        ...

    def complete(self, upload: Upload, parts: Sequence[StoredPart], crc: int, size: int) -> None:
        """Create the object from its parts; the store verifies CRC-32 and size (bytes) of the whole.

        Raises ConflictError if the object exists.
        """
        ...

    def abort(self, upload: Upload) -> None:
        """Abort an upload if it exists."""
        ...

    def unfinished_uploads(self, prefix: str) -> list[Upload]:
        """Return the unfinished uploads under a prefix."""
        ...


def client_config() -> Config:
    """Return the configuration of every client: bounded timeouts, and one attempt, since `RetryBudget` does retries.

    botocore owns these waits: 5 s for each address that a host has, 20 s for each send or receive. AWS is trusted not
    to trickle; what does is ended by Lambda's timeout, and the journal resumes it.
    """
    retries = {"mode": "standard", "total_max_attempts": 1}
    return Config(retries=retries, connect_timeout=CONNECT_TIMEOUT_S, read_timeout=READ_TIMEOUT_S)  # pyright: ignore[reportArgumentType] - the stub asks for its own TypedDict


@functools.cache
def s3_client() -> "S3Client":
    """Return an S3 client in the function's Region, with its role; `AWS_ENDPOINT_URL` and `AWS_CA_BUNDLE` apply.

    One for all invocations of a container, as AWS advises. `close()` ends its idle connections, not its use.
    """
    config = client_config().merge(Config(signature_version="s3v4"))  # S3 only: Lambda rejects it for ARNs in the path
    return boto3.client("s3", region_name=os.environ.get("AWS_REGION"), config=config)


def invoke_async(function_arn: str, event: Mapping[str, Any]) -> None:
    """Invoke a function with the event, without waiting for the result. Raises TransientError or StagingError."""
    client = boto3.client("lambda", region_name=os.environ.get("AWS_REGION"), config=client_config())
    with closing(client), translated_errors("starting a new invocation"):
        client.invoke(FunctionName=function_arn, InvocationType="Event", Payload=json.dumps(dict(event)).encode())


@contextmanager
def translated_errors(action: str) -> Generator[None]:
    """Translate botocore's errors in a block that sends one request; `action` begins their message.

    Raises TransientError, ConflictError, UploadGoneError or StagingError.
    """
    try:
        yield
    except ClientError as error:
        status, code = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0), _code(error)
        message = f"{action} failed: {code}: {error.response.get('Error', {}).get('Message', '')}"
        if status >= 500 or status == 429 or code in _RETRYABLE:
            raise TransientError(message) from error
        if code == "NoSuchUpload":
            raise UploadGoneError(message) from error
        raise (ConflictError if status == 412 else StagingError)(message) from error
    except (BotoCoreError, OSError) as error:
        raise TransientError(f"{action} failed: {error}") from error


def _code(error: ClientError) -> str:
    return error.response.get("Error", {}).get("Code", "")


def _if_exists(call: Callable[[], T]) -> T | None:
    """Return the result of a request, or None if its object does not exist."""
    try:
        return call()
    except ClientError as error:
        if _code(error) in _ABSENT:
            return None
        raise


class S3Store:
    """A bucket. Parts are sent until the deadline of `budget`; see `client_config` for all other requests."""

    def __init__(self, client: "S3Client", bucket: str, connections: Connections, budget: RetryBudget) -> None:
        self._client, self._bucket, self._connections, self._budget = client, bucket, connections, budget
        self._signer = PartSigner(client, bucket)

    def size_of(self, key: str) -> int | None:
        with translated_errors(f"looking for s3://{self._bucket}/{key}"):
            found = _if_exists(lambda: self._client.head_object(Bucket=self._bucket, Key=key))
        return found and found["ContentLength"]

    def read(self, key: str) -> Versioned | None:
        return read_object(self._client, self._bucket, key)

    def write(self, key: str, data: bytes, replaces: str | None) -> str:
        with translated_errors(f"writing s3://{self._bucket}/{key}"):
            if replaces is None:
                return self._client.put_object(Bucket=self._bucket, Key=key, Body=data, IfNoneMatch="*")["ETag"]
            done = _if_exists(
                lambda: self._client.put_object(Bucket=self._bucket, Key=key, Body=data, IfMatch=replaces)
            )
        if done is None:
            raise ConflictError(f"{key} is gone")
        return done["ETag"]

    def delete(self, key: str) -> None:
        with translated_errors(f"deleting {key}"):
            self._client.delete_object(Bucket=self._bucket, Key=key)

    def keys(self, prefix: str) -> list[str]:
        with translated_errors(f"listing {prefix}"):
            pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=prefix)
            keys = [item.get("Key", "") for page in pages for item in page.get("Contents", [])]
        return [key for key in keys if key.startswith(prefix)]

    def create_upload(self, key: str) -> Upload:
        with translated_errors(f"starting the upload of {key}"):
            created = self._client.create_multipart_upload(
                Bucket=self._bucket, Key=key, ChecksumAlgorithm="CRC32", ChecksumType="FULL_OBJECT"
            )
            return Upload(key, created["UploadId"])

    def put_part(self, upload: Upload, number: int, data: memoryview, crc: int) -> StoredPart:
        url, headers = self._signer.sign_part(upload, number, _checksum(crc))
        headers["Content-Length"] = str(len(data))
        with self._connections.exchange(Request("PUT", url, headers, data), self._budget) as exchange:
            response = exchange.response
            raise_if_retryable(response, "S3")
            body = exchange.read()
            if response.status != 200:
                raise _part_error(response.status, body)
            return StoredPart(number, response.headers.get("ETag", ""), crc, len(data))

    def matching_parts(self, upload: Upload, parts: Sequence[StoredPart]) -> Mapping[int, StoredPart]:
        by_number, found = {part.number: part for part in parts}, dict[int, StoredPart]()
        with translated_errors(f"listing the parts of {upload.key}"):
            pages = self._client.get_paginator("list_parts").paginate(
                Bucket=self._bucket, Key=upload.key, UploadId=upload.upload_id
            )
            for item in (item for page in pages for item in page.get("Parts", [])):
                want = by_number.get(item.get("PartNumber", 0))
                if want is None or item.get("Size") != want.length:
                    continue
                etag = item.get("ETag", "")  # compared where S3 lists no CRC-32
                if item["ChecksumCRC32"] == _checksum(want.crc) if "ChecksumCRC32" in item else etag == want.etag:
                    found[want.number] = StoredPart(want.number, etag, want.crc, want.length)
        return found

    def complete(self, upload: Upload, parts: Sequence[StoredPart], crc: int, size: int) -> None:
        numbered = [{"PartNumber": p.number, "ETag": p.etag, "ChecksumCRC32": _checksum(p.crc)} for p in parts]
        with translated_errors(f"completing {upload.key}"):
            try:
                self._client.complete_multipart_upload(
                    Bucket=self._bucket, Key=upload.key, UploadId=upload.upload_id, IfNoneMatch="*",
                    ChecksumCRC32=_checksum(crc), ChecksumType="FULL_OBJECT", MpuObjectSize=size,
                    MultipartUpload={"Parts": numbered},  # pyright: ignore[reportArgumentType] - the stub asks for its own TypedDict
                )  # fmt: skip
            except ClientError as error:
                if _code(error) == "ConditionalRequestConflict":  # S3 asks for a new upload in this case
                    raise UploadGoneError(f"the upload of {upload.key} conflicted with another writer") from error
                raise

    def abort(self, upload: Upload) -> None:
        with suppress(UploadGoneError), translated_errors(f"aborting {upload.key}"):
            self._client.abort_multipart_upload(Bucket=self._bucket, Key=upload.key, UploadId=upload.upload_id)

    def unfinished_uploads(self, prefix: str) -> list[Upload]:
        with translated_errors(f"listing uploads under {prefix}"):
            pages = self._client.get_paginator("list_multipart_uploads").paginate(Bucket=self._bucket, Prefix=prefix)
            found = [upload for page in pages for upload in page.get("Uploads", [])]
        uploads = [Upload(u["Key"], u["UploadId"]) for u in found if "Key" in u and "UploadId" in u]
        return [u for u in uploads if u.key.startswith(prefix)]  # checked here too: callers abort what is returned


def read_object(client: "S3Client", bucket: str, key: str) -> Versioned | None:
    """Return an object of at most 16 MiB, or None if it does not exist. Raises as `Store.read`."""
    with translated_errors(f"reading s3://{bucket}/{key}"):
        found = _if_exists(lambda: client.get_object(Bucket=bucket, Key=key))
        if found is None:
            return None
        data, length = found["Body"].read(_MAX_OBJECT + 1), found["ContentLength"]
    if len(data) < min(length, _MAX_OBJECT + 1):  # botocore checks the length of unlimited reads only
        raise TransientError(f"s3://{bucket}/{key} ended after {len(data)} of {length} bytes")
    if len(data) > _MAX_OBJECT:
        raise StagingError(f"s3://{bucket}/{key} must be at most {_MAX_OBJECT} bytes, got more")
    return Versioned(data, found["ETag"])


class PartSigner:
    """Signs `UploadPart` requests for one bucket; the CRC-32 is signed in place of the body, and S3 verifies it.

    `generate_presigned_url` takes over a millisecond per call, mostly to resolve the endpoint, so it runs once per key.
    """

    def __init__(self, client: "S3Client", bucket: str) -> None:
        self._client, self._bucket = client, bucket
        self._session = boto3.DEFAULT_SESSION or boto3.Session()  # the client's
        self._addresses: dict[str, str] = {}

    def sign_part(self, upload: Upload, number: int, checksum: str) -> tuple[str, dict[str, str]]:
        """Return URL and headers of the PUT for a part whose CRC-32 is `checksum`, in base64."""
        query = f"partNumber={number}&uploadId={quote(upload.upload_id, safe='')}"
        headers = {"x-amz-checksum-crc32": checksum, "X-Amz-Content-SHA256": "UNSIGNED-PAYLOAD"}
        request = AWSRequest("PUT", f"{self._address(upload.key)}?{query}", headers)
        request.context["payload_signing_enabled"] = False
        credentials = self._session.get_credentials()  # per request: the role's are renewed during a long run
        if credentials is None:
            raise StagingError("the function's role must have credentials, got none")
        S3SigV4Auth(credentials.get_frozen_credentials(), "s3", self._client.meta.region_name).add_auth(request)
        return str(request.url), dict(request.headers.items())

    def _address(self, key: str) -> str:
        if key not in self._addresses:
            params = {"Bucket": self._bucket, "Key": key, "UploadId": "-", "PartNumber": 1}
            parts = urlsplit(self._client.generate_presigned_url("upload_part", Params=params))
            self._addresses[key] = urlunsplit((parts.scheme, parts.netloc, parts.path, "", ""))
        return self._addresses[key]


def _checksum(crc: int) -> str:
    """Return a CRC-32 as S3 encodes it: base64 of four big-endian bytes."""
    return base64.b64encode(struct.pack(">I", crc)).decode()


def _part_error(status: int, body: bytes) -> Exception:
    code = body.decode("utf-8", "replace").partition("<Code>")[2].partition("</Code>")[0]
    if code == "NoSuchUpload":
        return UploadGoneError("the upload of a part no longer exists")
    # Digest errors are damage in transit: the part in memory is intact.
    if code in _RETRYABLE or "Digest" in code or code == "ExpiredToken":
        return TransientError(f"S3 answered {status} {code} to a part")
    return StagingError(f"S3 refused a part with {status} {code}")
