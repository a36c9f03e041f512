"""Multipart uploads: parts, their order and size, checksums, conditions."""

import base64
import hashlib
import zlib
from collections.abc import Callable
from typing import Any

import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from conformance.behaviour import documented
from conformance.workspace import Workspace, error_code

GUIDE = "https://docs.aws.amazon.com/AmazonS3/latest/userguide"
API = "https://docs.aws.amazon.com/AmazonS3/latest/API"
COMPLETE = f"{API}/API_CompleteMultipartUpload.html"
UPLOAD = f"{API}/API_UploadPart.html"
ERRORS = f"{API}/ErrorResponses.html"
INTEGRITY = f"{GUIDE}/checking-object-integrity-upload.html"
Plain = Callable[[], "Upload"]
BIG, SMALL = b"a" * (5 * 1024 * 1024), b"b" * 10


def crc32(data: bytes) -> str:
    return base64.b64encode(zlib.crc32(data).to_bytes(4, "big")).decode()


def sha256(data: bytes) -> str:
    return base64.b64encode(hashlib.sha256(data).digest()).decode()


class Upload:
    """A multipart upload of one key; `complete` names the parts uploaded so far."""

    def __init__(self, workspace: Workspace, bucket: str, **arguments: Any) -> None:
        self.s3 = arguments.pop("client", None) or workspace.client("s3")
        self.place: dict[str, Any] = {"Bucket": bucket, "Key": workspace.name("key")}
        self.key: str = self.place["Key"]
        self.place["UploadId"] = self.s3.create_multipart_upload(**self.place, **arguments)["UploadId"]
        self.parts: list[dict[str, Any]] = []

    def put(self, number: int, data: bytes, **arguments: Any) -> dict[str, Any]:
        answer = self.s3.upload_part(**self.place, PartNumber=number, Body=data, **arguments)
        checksums = {name: answer[name] for name in ("ChecksumCRC32", "ChecksumSHA256") if name in answer}
        self.parts.append({"PartNumber": number, "ETag": answer["ETag"], **checksums})
        return answer

    def complete(self, parts: list[dict[str, Any]] | None = None, **arguments: Any) -> dict[str, Any]:
        chosen = {"Parts": self.parts if parts is None else parts}
        return self.s3.complete_multipart_upload(**self.place, MultipartUpload=chosen, **arguments)

    @property
    def open(self) -> bool:
        uploads = self.s3.list_multipart_uploads(Bucket=self.place["Bucket"]).get("Uploads", [])
        return self.place["UploadId"] in [item["UploadId"] for item in uploads]

    def head(self) -> dict[str, Any]:
        return self.s3.head_object(Bucket=self.place["Bucket"], Key=self.key, ChecksumMode="ENABLED")


@pytest.fixture(scope="module")
def bucket(workspace: Workspace) -> str:
    """A bucket that all tests share."""
    return workspace.bucket()


@pytest.fixture
def upload(workspace: Workspace, bucket: str) -> Upload:
    """An upload of two parts with full-object CRC-32, not yet completed."""
    made = Upload(workspace, bucket, ChecksumAlgorithm="CRC32", ChecksumType="FULL_OBJECT")
    made.put(1, BIG, ChecksumAlgorithm="CRC32")
    made.put(2, SMALL, ChecksumAlgorithm="CRC32")
    return made


@pytest.fixture
def plain(workspace: Workspace, bucket: str) -> Plain:
    """Start an upload without checksums, which SDKs add by default."""
    client = workspace.client("s3", config=Config(request_checksum_calculation="when_required"))
    return lambda: Upload(workspace, bucket, client=client)


@documented(COMPLETE)
def test_parts_are_joined_in_order(upload: Upload) -> None:
    """S3 concatenates all the parts in ascending order by part number to create a new object."""
    upload.complete(MpuObjectSize=len(BIG + SMALL), ChecksumCRC32=crc32(BIG + SMALL), ChecksumType="FULL_OBJECT")
    assert upload.head()["ContentLength"] == len(BIG + SMALL)
    tail = upload.s3.get_object(Bucket=upload.place["Bucket"], Key=upload.key, Range=f"bytes={len(BIG) - 1}-")
    assert tail["Body"].read() == b"a" + SMALL
    assert not upload.open


@documented(COMPLETE)
def test_a_wrong_object_size_is_refused(upload: Upload) -> None:
    """A mismatch between x-amz-mp-object-size and the actual size is an HTTP 400 InvalidRequest error."""
    assert error_code(lambda: upload.complete(MpuObjectSize=7))[0] == "InvalidRequest"
    assert upload.open


@documented(ERRORS)
def test_a_wrong_object_checksum_is_refused(upload: Upload) -> None:
    """BadDigest: the checksum value that you specified, here of the full object, did not match that of S3."""
    wrong = {"ChecksumCRC32": crc32(b"other"), "ChecksumType": "FULL_OBJECT"}
    assert error_code(lambda: upload.complete(None, **wrong))[0] == "BadDigest"
    assert upload.open


@documented(COMPLETE)
def test_another_checksum_type_is_refused(upload: Upload) -> None:
    """A checksum type that doesn't match that of CreateMultipartUpload results in a BadDigest error."""
    assert error_code(lambda: upload.complete(ChecksumType="COMPOSITE"))[0] == "BadDigest"
    assert upload.open


@documented(COMPLETE)
def test_parts_out_of_order_are_refused(upload: Upload) -> None:
    """InvalidPartOrder: the list of parts was not in ascending order; it must be in order by part number."""
    assert error_code(lambda: upload.complete(upload.parts[::-1]))[0] == "InvalidPartOrder"


@documented(COMPLETE)
@pytest.mark.parametrize("wrong", [{"PartNumber": 3}, {"ETag": '"0123456789abcdef0123456789abcdef"'}])
def test_an_unknown_part_is_refused(plain: Plain, wrong: dict[str, Any]) -> None:
    """InvalidPart: a part might not have been uploaded, or the specified ETag not have matched the part's ETag."""
    made = plain()
    made.put(1, BIG)
    made.put(2, SMALL)
    assert error_code(lambda: made.complete([made.parts[0], made.parts[1] | wrong]))[0] == "InvalidPart"


@documented(COMPLETE)
def test_only_the_last_part_may_be_small(workspace: Workspace, bucket: str) -> None:
    """EntityTooSmall: each part must be at least 5 MB in size, except the last part."""
    made = Upload(workspace, bucket)
    made.put(1, SMALL)
    made.put(2, SMALL)
    assert error_code(made.complete)[0] == "EntityTooSmall"
    assert made.complete(made.parts[:1])["Key"] == made.key


@documented(f"{GUIDE}/qfacts.html")
@pytest.mark.parametrize(("number", "accepted"), [(0, False), (1, True), (10_000, True), (10_001, False)])
def test_part_numbers_are_1_to_10000(workspace: Workspace, bucket: str, number: int, accepted: bool) -> None:
    """Part numbers are 1 to 10,000, inclusive."""
    made = Upload(workspace, bucket)
    if accepted:
        made.put(number, SMALL)
    else:
        with pytest.raises(ClientError) as error:
            made.put(number, SMALL)
        assert error.value.response.get("ResponseMetadata", {}).get("HTTPStatusCode") == 400


@documented(f"{GUIDE}/mpuoverview.html")
def test_part_numbers_may_have_gaps(plain: Plain) -> None:
    """The part number that you choose doesn't need to be in a consecutive sequence."""
    made = plain()
    made.put(3, BIG)
    made.put(7, SMALL)
    made.complete()
    assert made.head()["ContentLength"] == len(BIG + SMALL)


@documented(f"{API}/API_CompletedPart.html")
@pytest.mark.parametrize("numbers", [(1, 3), (2, 3)])
def test_parts_with_checksums_are_consecutive(workspace: Workspace, bucket: str, numbers: tuple[int, int]) -> None:
    """With a checksum on each part, part numbers must start at 1 and be consecutive: else InvalidPartOrder."""
    made = Upload(workspace, bucket, ChecksumAlgorithm="SHA256")
    for number, data in zip(numbers, (BIG, SMALL), strict=True):
        made.put(number, data, ChecksumAlgorithm="SHA256")
    assert error_code(made.complete)[0] == "InvalidPartOrder"
    assert made.open


@documented(UPLOAD)
def test_a_part_uploaded_again_replaces_the_first(workspace: Workspace, bucket: str) -> None:
    """If you upload a new part with the part number of a previous one, the previously uploaded part is overwritten."""
    made = Upload(workspace, bucket)
    made.put(1, SMALL)
    made.put(1, b"replaced")
    made.complete(made.parts[-1:])
    assert made.s3.get_object(Bucket=bucket, Key=made.key)["Body"].read() == b"replaced"


@documented(UPLOAD)
def test_a_parts_md5_is_checked(workspace: Workspace, bucket: str) -> None:
    """S3 checks the part data against the provided MD5 value. If they do not match, S3 returns an error."""
    made = Upload(workspace, bucket)
    assert error_code(lambda: made.put(1, SMALL, ContentMD5="1B2M2Y8AsgTpgAmY7PhCfg=="))[0] == "BadDigest"


@documented(ERRORS)
def test_a_parts_checksum_is_checked(workspace: Workspace, bucket: str) -> None:
    """BadDigest: the checksum value that you specified, here of a part, did not match what the server received."""
    made = Upload(workspace, bucket, ChecksumAlgorithm="SHA256")
    assert error_code(lambda: made.put(1, SMALL, ChecksumSHA256=sha256(b"other")))[0] == "BadDigest"


@documented(INTEGRITY)
def test_a_composite_checksum_ends_in_the_number_of_parts(workspace: Workspace, bucket: str) -> None:
    """A composite checksum is calculated based on the individual checksums of each part; their number follows it."""
    made = Upload(workspace, bucket, ChecksumAlgorithm="SHA256")
    made.put(1, BIG, ChecksumAlgorithm="SHA256")
    made.put(2, SMALL, ChecksumAlgorithm="SHA256")
    made.complete()
    digests = hashlib.sha256(BIG).digest() + hashlib.sha256(SMALL).digest()
    assert made.head()["ChecksumSHA256"] == f"{sha256(digests)}-2"


@documented(INTEGRITY)
def test_sha_256_has_no_full_object_checksum(workspace: Workspace, bucket: str) -> None:
    """SHA-1 and SHA-256 support only the composite checksum type for multipart uploads."""
    wanted = {"ChecksumAlgorithm": "SHA256", "ChecksumType": "FULL_OBJECT"}
    assert error_code(lambda: Upload(workspace, bucket, **wanted))[0] == "InvalidRequest"


@documented(INTEGRITY)
def test_crc_64_nvme_has_no_composite_checksum(workspace: Workspace, bucket: str) -> None:
    """CRC64NVME supports only the full object checksum type: it is always a full object checksum."""
    wanted = {"ChecksumAlgorithm": "CRC64NVME", "ChecksumType": "COMPOSITE"}
    assert error_code(lambda: Upload(workspace, bucket, **wanted))[0] == "InvalidRequest"


@documented(INTEGRITY)
def test_the_etag_is_the_md5_of_the_parts_md5s(upload: Upload) -> None:
    """The ETag is the MD5 digest of the parts' concatenated MD5 digests, then a dash with the number of parts."""
    digests = b"".join(hashlib.md5(part, usedforsecurity=False).digest() for part in (BIG, SMALL))
    answer = upload.complete()
    assert answer["ETag"] == f'"{hashlib.md5(digests, usedforsecurity=False).hexdigest()}-2"'


@documented(f"{API}/API_AbortMultipartUpload.html")
def test_an_aborted_upload_accepts_no_parts(workspace: Workspace, bucket: str) -> None:
    """After an upload is aborted, no additional parts can be uploaded using that upload ID."""
    made = Upload(workspace, bucket)
    made.s3.abort_multipart_upload(**made.place)
    assert error_code(lambda: made.put(1, SMALL))[0] == "NoSuchUpload"
    assert error_code(lambda: made.s3.list_parts(**made.place))[0] == "NoSuchUpload"
    assert not made.open


@documented(f"{API}/API_ListParts.html")
def test_uploaded_parts_are_listed_in_pages(upload: Upload) -> None:
    """ListParts restricts the number of parts to MaxParts; NextPartNumberMarker is the marker of the next request."""
    first = upload.s3.list_parts(**upload.place, MaxParts=1)
    assert (first["IsTruncated"], [part["PartNumber"] for part in first["Parts"]]) == (True, [1])
    second = upload.s3.list_parts(**upload.place, PartNumberMarker=first["NextPartNumberMarker"])
    assert [(part["PartNumber"], part["Size"]) for part in second["Parts"]] == [(2, len(SMALL))]


@documented(f"{GUIDE}/mpuoverview.html")
def test_an_open_upload_is_no_object(upload: Upload) -> None:
    """Until an upload is completed, its key does not exist and is not listed."""
    place = {"Bucket": upload.place["Bucket"], "Key": upload.key}
    assert error_code(lambda: upload.s3.get_object(**place))[0] == "NoSuchKey"
    assert upload.open


@documented(f"{GUIDE}/conditional-writes.html")
def test_completion_may_require_that_the_key_is_new(upload: Upload) -> None:
    """CompleteMultipartUpload with If-None-Match: * fails with 412 if the key exists."""
    upload.s3.put_object(Bucket=upload.place["Bucket"], Key=upload.key, Body=b"first")
    assert error_code(lambda: upload.complete(IfNoneMatch="*"))[0] == "PreconditionFailed"


@documented(f"{GUIDE}/conditional-writes.html")
def test_completion_may_require_an_etag(upload: Upload) -> None:
    """CompleteMultipartUpload with If-Match fails with 412 if the object has another ETag."""
    upload.s3.put_object(Bucket=upload.place["Bucket"], Key=upload.key, Body=b"first")
    assert error_code(lambda: upload.complete(IfMatch='"0123456789abcdef0123456789abcdef"'))[0] == "PreconditionFailed"
    assert upload.s3.get_object(Bucket=upload.place["Bucket"], Key=upload.key)["Body"].read() == b"first"


@documented(f"{API}/API_UploadPartCopy.html")
def test_ranges_are_copied_from_large_objects_only(workspace: Workspace, bucket: str) -> None:
    """You can copy a range only if the source object is greater than 5 MB: else InvalidRequest."""
    made = Upload(workspace, bucket)
    made.s3.put_object(Bucket=bucket, Key="small", Body=BIG)
    source = {"CopySource": {"Bucket": bucket, "Key": "small"}, "CopySourceRange": "bytes=0-3"}
    assert error_code(lambda: made.s3.upload_part_copy(**made.place, PartNumber=1, **source))[0] == "InvalidRequest"


@documented(f"{API}/API_UploadPartCopy.html")
def test_a_part_may_be_a_range_of_an_object(workspace: Workspace, bucket: str) -> None:
    """UploadPartCopy uploads a part by copying data from an existing object: the bytes first to last of a range."""
    made = Upload(workspace, bucket)
    made.s3.put_object(Bucket=bucket, Key="source", Body=BIG + b"0123456789")
    copied = made.s3.upload_part_copy(
        **made.place,
        PartNumber=1,
        CopySource={"Bucket": bucket, "Key": "source"},
        CopySourceRange=f"bytes={len(BIG)}-{len(BIG) + 3}",
    )
    made.complete([{"PartNumber": 1, "ETag": copied["CopyPartResult"]["ETag"]}])
    assert made.s3.get_object(Bucket=bucket, Key=made.key)["Body"].read() == b"0123"
