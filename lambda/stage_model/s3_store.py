"""One S3 bucket with its uploads: boto3 for control, plain HTTP for parts, which are nearly all of the bytes."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from stage_model.checksums import s3_checksum
from stage_model.connections import Connections, Request, raise_if_busy
from stage_model.errors import StagingError, TransientError, UploadGoneError
from stage_model.part_signer import PartSigner
from stage_model.s3_client import RETRYABLE, code_of, translated
from stage_model.s3_objects import S3Objects
from stage_model.store import StoredPart, Upload

if TYPE_CHECKING:  # the stubs are a development tool; the Lambda has none
    from mypy_boto3_s3 import S3Client


class S3Store(S3Objects):
    """A bucket of S3; see `Store` for the methods."""

    def __init__(self, client: "S3Client", bucket: str, connections: Connections) -> None:
        super().__init__(client, bucket)
        self._connections = connections
        self._signer = PartSigner(client, bucket)

    def create_upload(self, key: str) -> Upload:
        """Begin a multipart upload whose CRC-32 is of the whole object."""

        def create() -> Upload:
            answer = self._client.create_multipart_upload(
                Bucket=self._bucket, Key=key, ChecksumAlgorithm="CRC32", ChecksumType="FULL_OBJECT"
            )
            return Upload(key, answer["UploadId"])

        return translated(f"beginning {key}", create)

    def put_part(self, upload: Upload, number: int, data: memoryview, crc: int) -> StoredPart:
        """Upload one part over this thread's own connection; S3 checks its CRC-32."""
        url, headers = self._signer.sign_part(upload, number, s3_checksum(crc))
        headers["Content-Length"] = str(len(data))
        with self._connections.exchange(Request("PUT", url, headers, data)) as exchange:
            response = exchange.response
            raise_if_busy(response, "S3")
            body = response.read(65536)
            if response.status != 200:
                raise _part_error(response.status, body)
            etag = response.headers.get("ETag", "")
        return StoredPart(number, etag, crc, len(data))

    def matching_parts(self, upload: Upload, parts: Sequence[StoredPart]) -> Mapping[int, StoredPart]:
        """Return those of `parts` that S3 holds with the same length and CRC-32 (or ETag, where it lists no CRC-32)."""

        def listed() -> dict[int, StoredPart]:
            found: dict[int, StoredPart] = {}
            pages = self._client.get_paginator("list_parts").paginate(
                Bucket=self._bucket, Key=upload.key, UploadId=upload.upload_id
            )
            for item in (item for page in pages for item in page.get("Parts", [])):
                want = by_number.get(item.get("PartNumber", 0))
                if want is None or item.get("Size") != want.length:
                    continue
                etag = item.get("ETag", "")
                if item["ChecksumCRC32"] == s3_checksum(want.crc) if "ChecksumCRC32" in item else etag == want.etag:
                    found[want.number] = StoredPart(want.number, etag, want.crc, want.length)
            return found

        by_number = {part.number: part for part in parts}
        return translated(f"listing the parts of {upload.key}", listed)

    def complete(self, upload: Upload, parts: Sequence[StoredPart], crc: int, size: int) -> None:
        """Make the object from its parts, if there is none; S3 checks the whole's CRC-32 and size (bytes)."""

        def finish() -> None:
            try:
                self._client.complete_multipart_upload(
                    Bucket=self._bucket, Key=upload.key, UploadId=upload.upload_id, IfNoneMatch="*",
                    ChecksumCRC32=s3_checksum(crc), ChecksumType="FULL_OBJECT", MpuObjectSize=size,
                    MultipartUpload={
                        "Parts": [
                            {"PartNumber": p.number, "ETag": p.etag, "ChecksumCRC32": s3_checksum(p.crc)} for p in parts
                        ]
                    },
                )  # fmt: skip
            except ClientError as error:
                if code_of(error) == "ConditionalRequestConflict":  # S3 asks for another upload then
                    raise UploadGoneError(f"the upload of {upload.key} met another writer") from error
                raise

        translated(f"completing {upload.key}", finish)

    def abort(self, upload: Upload) -> None:
        """Drop an upload and its parts; one that no longer exists is no error."""

        def drop() -> None:
            self._client.abort_multipart_upload(Bucket=self._bucket, Key=upload.key, UploadId=upload.upload_id)

        try:
            translated(f"aborting {upload.key}", drop)
        except UploadGoneError:
            return  # what was asked for

    def unfinished_uploads(self, prefix: str) -> list[Upload]:
        """Return the unfinished uploads under a prefix."""

        def uploads() -> list[Upload]:
            pages = self._client.get_paginator("list_multipart_uploads").paginate(Bucket=self._bucket, Prefix=prefix)
            found = [upload for page in pages for upload in page.get("Uploads", [])]
            return [Upload(u["Key"], u["UploadId"]) for u in found if "Key" in u and "UploadId" in u]

        # The prefix is checked here too: what is returned will be dropped.
        return [u for u in translated(f"listing uploads under {prefix}", uploads) if u.key.startswith(prefix)]


def _part_error(status: int, body: bytes) -> Exception:
    code = body.decode("utf-8", "replace").partition("<Code>")[2].partition("</Code>")[0]
    if code == "NoSuchUpload":
        return UploadGoneError("the upload of a part no longer exists")
    # A part damaged on its way (BadDigest, InvalidDigest) is sent again; it is right in memory.
    if code in RETRYABLE or "Digest" in code or code == "ExpiredToken":
        return TransientError(f"S3 answered {status} {code} to a part")
    return StagingError(f"S3 must take a part with 200, got {status} {code}")
