"""CompleteMultipartUpload compares what the client says of the object with what arrived, as S3 does."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from moto.s3.exceptions import S3ClientError
from moto.s3.models import FakeMultipart
from moto.s3.responses import S3Response
from moto.s3.utils import compute_checksum

# Those that moto really computes: for CRC-32C and CRC-64/NVME it may put CRC-32 in their place.
_CHECKSUMS = {"x-amz-checksum-crc32": "CRC32", "x-amz-checksum-sha1": "SHA1", "x-amz-checksum-sha256": "SHA256"}

Parts = list[tuple[int, str]]


def install() -> None:
    """Check `x-amz-mp-object-size` and a full-object checksum before moto puts the parts together."""
    responses: Any = S3Response
    read_parts = responses._complete_multipart_body  # moto calls it once the caller is authorised

    def complete_multipart_body(self: Any, body: bytes) -> Iterator[tuple[int, str]]:
        parts: Parts = list(read_parts(self, body))
        upload = self.backend.get_bucket(self.bucket_name).multiparts.get(self._get_param("uploadId"))
        if upload is not None:
            check_completion(upload, parts, self.headers)
        return iter(parts)

    responses._complete_multipart_body = complete_multipart_body


def check_completion(upload: FakeMultipart, parts: Parts, headers: Any) -> None:
    """Raise S3's error if the stated size or checksum is not that of the listed parts together."""
    data = b"".join(upload.parts[number].value for number, _ in parts if number in upload.parts)
    stated_size = headers.get("x-amz-mp-object-size")
    if stated_size is not None and int(stated_size) != len(data):
        raise S3ClientError(
            "InvalidRequest",
            f"The provided 'x-amz-mp-object-size' header value {stated_size} does not match what was computed: "
            f"{len(data)}",
        )
    for header, algorithm in _CHECKSUMS.items():
        stated = headers.get(header)
        # A composite checksum ends in the number of parts: it is one of checksums, not of the object.
        if stated and "-" not in stated and stated != compute_checksum(data, algorithm).decode():
            raise S3ClientError("BadDigest", f"The {algorithm} you specified did not match the calculated checksum.")
