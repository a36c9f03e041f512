"""CompleteMultipartUpload checks the stated size and checksum against the uploaded parts."""
# pyright: reportTypedDictNotRequiredAccess=false
# (errors always carry their code)

import base64
import zlib
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from local_aws.emulator.process import LocalAws

PARTS = [b"a" * (5 * 1024 * 1024), b"b" * 10]


def crc32(data: bytes) -> str:
    return base64.b64encode(zlib.crc32(data).to_bytes(4, "big")).decode()


@pytest.fixture
def upload(aws: LocalAws) -> Iterator[tuple[Any, dict[str, Any]]]:
    """Return a client and the arguments to complete an upload of two parts; remove the bucket afterwards."""
    s3, bucket = aws.client("s3"), "multipart"
    s3.create_bucket(Bucket=bucket)
    place = {"Bucket": bucket, "Key": "k"}
    made = s3.create_multipart_upload(**place, ChecksumAlgorithm="CRC32", ChecksumType="FULL_OBJECT")
    place["UploadId"] = made["UploadId"]
    parts = [
        {"PartNumber": number, "ETag": s3.upload_part(**place, PartNumber=number, Body=data)["ETag"]}
        for number, data in enumerate(PARTS, start=1)
    ]
    yield s3, {**place, "MultipartUpload": {"Parts": parts}}
    s3.delete_object(Bucket=bucket, Key="k")
    if s3.list_multipart_uploads(Bucket=bucket).get("Uploads"):
        s3.abort_multipart_upload(**place)
    s3.delete_bucket(Bucket=bucket)


def test_correct_size_and_checksum_complete_the_upload(upload: tuple[Any, dict[str, Any]]) -> None:
    s3, arguments = upload
    whole = b"".join(PARTS)
    s3.complete_multipart_upload(**arguments, MpuObjectSize=len(whole), ChecksumCRC32=crc32(whole))
    assert s3.head_object(Bucket="multipart", Key="k")["ContentLength"] == len(whole)


@pytest.mark.parametrize(
    ("stated", "code"),
    [({"MpuObjectSize": 7}, "InvalidRequest"), ({"ChecksumCRC32": crc32(b"other")}, "BadDigest")],
)
def test_wrong_size_or_checksum_is_refused_and_the_upload_stays_open(
    upload: tuple[Any, dict[str, Any]], stated: dict[str, Any], code: str
) -> None:
    s3, arguments = upload
    with pytest.raises(ClientError) as error:
        s3.complete_multipart_upload(**arguments, **stated)
    assert error.value.response["Error"]["Code"] == code
    assert len(s3.list_multipart_uploads(Bucket="multipart")["Uploads"]) == 1
