"""What S3 refuses, and sets by default, where moto does not: limits, digests, conditions, names, lifecycle rules.

`install` wraps moto's S3 after authorisation, so that a caller without permission learns nothing more.
"""

import base64
import functools
import hashlib
import ipaddress
import re
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import unquote

from moto.core.responses import ActionResult
from moto.s3.exceptions import (
    InvalidBucketName,
    InvalidPartOrder,
    MalformedXML,
    MethodNotAllowed,
    MissingKey,
    MissingVersion,
    NoSuchUpload,
    PreconditionFailed,
    S3AccessDeniedError,
    S3ClientError,
)
from moto.s3.models import FakeBucket, FakeDeleteMarker, PublicAccessBlock, S3Backend
from moto.s3.responses import S3Response
from moto.s3.utils import compute_checksum

from local_aws.emulator.iam import bucket_policy, public_access

_MAX_KEY_BYTES = 1024
_MAX_METADATA_BYTES = 2048
_MAX_PARTS = 10_000
_MAX_BULK_KEYS = 1000
_MAX_RULE_ID = 255
# Only those that moto really computes: it may substitute CRC-32 for CRC-32C and CRC-64/NVME.
_CHECKSUMS = {"x-amz-checksum-crc32": "CRC32", "x-amz-checksum-sha1": "SHA1", "x-amz-checksum-sha256": "SHA256"}
# https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity-upload.html
_CHECKSUM_TYPES = {"CRC64NVME": {"FULL_OBJECT"}, "SHA1": {"COMPOSITE"}, "SHA256": {"COMPOSITE"}}
# With these, part numbers have no gaps: https://docs.aws.amazon.com/AmazonS3/latest/API/API_CompletedPart.html
_CONSECUTIVE = frozenset({"CRC32", "CRC32C", "SHA1", "SHA256"})
_MIN_RANGE_SOURCE = 5 * 1024 * 1024  # "You can copy a range only if the source object is greater than 5 MB"
_PUBLIC_ACLS = frozenset({"public-read", "public-read-write", "authenticated-read"})
_RESERVED_PREFIXES = ("xn--", "sthree-", "amzn-s3-demo-")
_RESERVED_SUFFIXES = ("-s3alias", "--ol-s3", ".mrap", "--x-s3", "--table-s3", "-an")
_DEFAULT_ENCRYPTION = {"Rule": {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}}


def install() -> None:
    """Wrap moto's S3; call once."""
    responses: Any = S3Response
    backend: Any = S3Backend
    bucket: Any = FakeBucket
    _before(responses, "put_object", _check_put)
    _before(responses, "copy_object", _check_copy)
    _before(responses, "upload_part", _check_part)
    _before(responses, "upload_part_copy", _check_part_copy)
    _before(responses, "list_parts", _check_upload_exists)
    _before(responses, "_bucket_response_delete_keys", _check_bulk_deletion)
    _before(backend, "create_bucket", _check_bucket_name)
    _before(backend, "create_multipart_upload", _check_new_upload)
    _before(backend, "put_bucket_lifecycle", _check_lifecycle)
    _before(backend, "put_bucket_policy", _check_bucket_policy)
    _check_completions(responses)
    _answer_delete_markers(responses)
    _number_composite_checksums(responses)
    _set_defaults(bucket, backend)


def _before(owner: Any, name: str, check: Callable[..., None]) -> None:
    """Call `check` with the arguments of the method before it runs."""
    method = getattr(owner, name)

    @functools.wraps(method)
    def checked(*args: Any, **kwargs: Any) -> Any:
        check(*args, **kwargs)
        return method(*args, **kwargs)

    setattr(owner, name, checked)


# ---- objects -----------------------------------------------------------------------------------------------


def _check_put(self: Any) -> None:
    _check_key_and_metadata(self)
    _check_acl(self)
    _check_digests(self)


def _check_copy(self: Any) -> None:
    _check_key_and_metadata(self)
    _check_acl(self)
    _check_write_conditions(self)


def _check_key_and_metadata(self: Any) -> None:
    key = self.parse_key_name()
    if len(key.encode()) > _MAX_KEY_BYTES:
        raise S3ClientError("KeyTooLongError", "Your key is too long")
    metadata = {name.lower(): value for name, value in self.headers.items() if name.lower().startswith("x-amz-meta-")}
    size = sum(len(name.removeprefix("x-amz-meta-")) + len(value.encode()) for name, value in metadata.items())
    if size > _MAX_METADATA_BYTES:
        raise S3ClientError("MetadataTooLarge", "Your metadata headers exceed the maximum allowed metadata size")


def _check_acl(self: Any) -> None:
    """Refuse ACLs unless the bucket's Object Ownership permits them; the default, bucket owner enforced, does not."""
    bucket = self.backend.get_bucket(self.bucket_name)
    ownership = bucket.ownership_rule or "BucketOwnerEnforced"
    acl = self.headers.get("x-amz-acl", "bucket-owner-full-control")
    if ownership == "BucketOwnerEnforced" and acl != "bucket-owner-full-control":
        raise S3ClientError("AccessControlListNotSupported", "The bucket does not allow ACLs")
    if acl in _PUBLIC_ACLS and public_access.refuses_public_acls(bucket):
        raise S3AccessDeniedError


def _check_digests(self: Any) -> None:
    body: bytes = self.body or b""
    stated = self.headers.get("Content-MD5")
    if stated and stated != base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode():
        raise S3ClientError("BadDigest", "The Content-MD5 you specified did not match what we received.")
    for header, algorithm in _CHECKSUMS.items():
        stated = self.headers.get(header)
        if stated and stated != compute_checksum(body, algorithm).decode():
            raise _bad_digest(algorithm)


def _check_write_conditions(self: Any) -> None:
    existing = self.backend.get_object(self.bucket_name, self.parse_key_name())
    if self.headers.get("If-None-Match") == "*" and existing is not None:
        raise PreconditionFailed("If-None-Match")
    if (wanted := self.headers.get("If-Match")) is None:
        return
    if existing is None:
        raise MissingKey(key=self.parse_key_name())
    if wanted.strip('"') != existing.etag.strip('"'):
        raise PreconditionFailed("If-Match")


def _check_bulk_deletion(self: Any, *_args: Any, **_kwargs: Any) -> None:
    if self.body.count(b"<Object>") > _MAX_BULK_KEYS:
        raise MalformedXML


def _answer_delete_markers(responses: Any) -> None:
    """Say that the object is a delete marker: 404 for the current version, 405 for one asked for by its id."""
    get_object = responses.get_object

    def answer(self: Any) -> Any:
        try:
            return get_object(self)
        except (MissingKey, MissingVersion) as error:
            version: str | None = self.querystring.get("versionId", [None])[0]
            key = self.parse_key_name()
            found = self.backend.get_object(self.bucket_name, key, version_id=version, return_delete_marker=True)
            if not isinstance(found, FakeDeleteMarker):
                raise
            refusal = error if version is None else MethodNotAllowed("GET", "DeleteMarker")
            _, headers, body = self.serialized(ActionResult(refusal))
            headers |= {"x-amz-delete-marker": "true", "x-amz-version-id": found.version_id}
            return (404 if version is None else 405), headers, body

    responses.get_object = answer


# ---- multipart uploads -------------------------------------------------------------------------------------


def _check_upload_exists(self: Any) -> None:
    upload_id = self._get_param("uploadId")
    if upload_id not in self.backend.get_bucket(self.bucket_name).multiparts:
        raise NoSuchUpload(upload_id=upload_id)


def _check_part(self: Any) -> None:
    _check_upload_exists(self)
    number = self._get_int_param("partNumber")
    if not 1 <= number <= _MAX_PARTS:
        raise S3ClientError("InvalidArgument", f"Part number must be an integer between 1 and {_MAX_PARTS}, inclusive")
    if "x-amz-copy-source" not in self.headers:
        _check_digests(self)


def _check_part_copy(self: Any) -> None:
    _check_part(self)
    if self.headers.get("x-amz-copy-source-range"):
        bucket, _, key = unquote(self.headers["x-amz-copy-source"]).lstrip("/").partition("/")
        source = self.backend.get_object(bucket, key.partition("?versionId=")[0])
        if source is not None and source.size <= _MIN_RANGE_SOURCE:
            raise S3ClientError(
                "InvalidRequest", "The specified copy source is not supported as a byte-range copy source"
            )


def _check_new_upload(_self: Any, _bucket: str, _key: str, metadata: Any, *_args: Any, **_kwargs: Any) -> None:
    algorithm, kind = metadata.get("x-amz-checksum-algorithm"), metadata.get("x-amz-checksum-type")
    if kind and kind not in _CHECKSUM_TYPES.get(algorithm or "CRC64NVME", {"COMPOSITE", "FULL_OBJECT"}):
        raise S3ClientError("InvalidRequest", f"The {kind} checksum type cannot be used with the {algorithm} algorithm")


def _check_completions(responses: Any) -> None:
    """Check a completion's order, conditions, size and checksums before moto joins the parts."""
    read_parts = responses._complete_multipart_body  # moto calls it once the caller is authorised

    def complete_multipart_body(self: Any, body: bytes) -> Iterator[tuple[int, str]]:
        parts: list[tuple[int, str]] = list(read_parts(self, body))
        numbers = [number for number, _ in parts]
        if numbers != sorted(set(numbers)):
            raise InvalidPartOrder
        _check_upload_exists(self)
        upload: Any = self.backend.get_bucket(self.bucket_name).multiparts[self._get_param("uploadId")]
        if upload.metadata.get("x-amz-checksum-algorithm") in _CONSECUTIVE and numbers[-1:] != [len(numbers)]:
            raise InvalidPartOrder
        _check_write_conditions(self)
        _check_completion(upload, self.headers, parts)
        return iter(parts)

    responses._complete_multipart_body = complete_multipart_body


def _check_completion(upload: Any, headers: Any, parts: list[tuple[int, str]]) -> None:
    """Raise S3's error if the stated size or checksum is not that of the listed parts joined together."""
    data = b"".join(upload.parts[number].value for number, _ in parts if number in upload.parts)
    stated_size = headers.get("x-amz-mp-object-size")
    if stated_size is not None and int(stated_size) != len(data):
        raise S3ClientError(
            "InvalidRequest",
            f"The provided 'x-amz-mp-object-size' header value {stated_size} does not match what was computed: "
            f"{len(data)}",
        )
    kind, created_as = headers.get("x-amz-checksum-type"), upload.metadata.get("x-amz-checksum-type")
    if kind and created_as and kind != created_as:
        raise S3ClientError("BadDigest", f"The upload was created with the {created_as} checksum type, not {kind}.")
    for header, algorithm in _CHECKSUMS.items():
        stated = headers.get(header)
        # A composite checksum ends in the number of parts: it is computed from checksums, not from the object.
        if stated and "-" not in stated and stated != compute_checksum(data, algorithm).decode():
            raise _bad_digest(algorithm)


def _number_composite_checksums(responses: Any) -> None:
    """Add the number of parts to a composite checksum in HeadObject; moto does so in GetObject alone."""
    head_object = responses.head_object

    def numbered(self: Any, bucket_name: str, query: Any, key_name: str, headers: Any) -> Any:
        status, answer, body = head_object(self, bucket_name, query, key_name, headers=headers)
        names = [name for name in answer if name.startswith("x-amz-checksum-") and name != "x-amz-checksum-type"]
        if status == 200 and names:
            version = query.get("versionId", [None])[0]
            key: Any = self.backend.get_object(bucket_name, key_name, version_id=version)
            if key.checksum_type:
                answer["x-amz-checksum-type"] = key.checksum_type
            if key.checksum_type == "COMPOSITE":
                answer |= {name: f"{key.checksum_value}-{key.checksum_parts}" for name in names}
        return status, answer, body

    responses.head_object = numbered


def _bad_digest(algorithm: str) -> S3ClientError:
    return S3ClientError("BadDigest", f"The {algorithm} you specified did not match the calculated checksum.")


# ---- buckets -----------------------------------------------------------------------------------------------


def _check_bucket_name(_self: Any, bucket_name: str, *_args: Any, bucket_namespace: Any = None, **_kwargs: Any) -> None:
    """https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html."""
    suffixes = _RESERVED_SUFFIXES if not bucket_namespace else _RESERVED_SUFFIXES[:-1]
    if (
        not re.fullmatch(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", bucket_name)
        or ".." in bucket_name
        or _is_address(bucket_name)
        or bucket_name.startswith(_RESERVED_PREFIXES)
        or bucket_name.endswith(suffixes)
    ):
        raise InvalidBucketName


def _is_address(name: str) -> bool:
    try:
        ipaddress.IPv4Address(name)
    except ValueError:
        return False
    return True


def _set_defaults(bucket: Any, backend: Any) -> None:
    """Encrypt with SSE-S3 and block public access in new buckets, as S3 does since 2023."""
    construct = bucket.__init__

    @functools.wraps(construct)
    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        construct(self, *args, **kwargs)
        self.encryption = _DEFAULT_ENCRYPTION
        self.public_access_block = PublicAccessBlock("true", "true", "true", "true")

    def delete_bucket_encryption(self: Any, bucket_name: str) -> None:
        self.get_bucket(bucket_name).encryption = _DEFAULT_ENCRYPTION

    bucket.__init__ = init
    backend.delete_bucket_encryption = delete_bucket_encryption


def _check_bucket_policy(self: Any, bucket_name: str, policy: bytes) -> None:
    bucket = self.get_bucket(bucket_name)
    if len(policy) > bucket_policy.MAX_BYTES:
        raise S3ClientError("PolicyTooLarge", "Normalized policy document exceeds the maximum allowed size of 20 KB")
    try:
        bucket_policy.check(policy, bucket_name)
    except ValueError as error:
        raise S3ClientError("MalformedPolicy", str(error)) from error
    if public_access.refuses_policy(bucket, policy):
        raise S3AccessDeniedError


def _check_lifecycle(_self: Any, _bucket: str, rules: list[dict[str, Any]]) -> None:
    ids = [rule.get("ID") for rule in rules if rule.get("ID")]
    if any(len(name) > _MAX_RULE_ID for name in ids if name):
        raise S3ClientError("InvalidArgument", f"ID length should not exceed allowed limit of {_MAX_RULE_ID}")
    if len(ids) != len(set(ids)):
        raise S3ClientError("InvalidArgument", "Rule ID must be unique")
    for rule in rules:
        expiration: dict[str, Any] = rule.get("Expiration") or {}
        days = expiration.get("Days")
        if days is not None and int(days) < 1:
            raise S3ClientError("InvalidArgument", "'Days' for Expiration action must be a positive integer")
        conditions: dict[str, Any] = rule.get("Filter") or {}
        tagged = "Tag" in conditions or "Tag" in (conditions.get("And") or {})
        if tagged and rule.get("AbortIncompleteMultipartUpload"):
            raise S3ClientError("InvalidRequest", "AbortIncompleteMultipartUpload cannot be specified with Tags.")
