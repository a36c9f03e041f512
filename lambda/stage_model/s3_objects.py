"""Objects of one S3 bucket, through boto3; see `Objects` for the methods."""

from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from stage_model.errors import ConflictError, StagingError, TransientError
from stage_model.s3_client import ABSENT, code_of, translated
from stage_model.store import Versioned

if TYPE_CHECKING:  # the stubs are a development tool; the Lambda has none
    from mypy_boto3_s3 import S3Client

_MAX_SMALL = 16 << 20  # bytes: bundles and records of runs stay well below


class S3Objects:
    """A bucket's objects."""

    def __init__(self, client: "S3Client", bucket: str) -> None:
        self._client = client
        self._bucket = bucket

    def size_of(self, key: str) -> int | None:
        """Return an object's length in bytes, or None if there is no such object."""

        def head() -> int | None:
            try:
                return self._client.head_object(Bucket=self._bucket, Key=key)["ContentLength"]
            except ClientError as error:
                if code_of(error) in ABSENT:
                    return None
                raise

        return translated(f"looking for s3://{self._bucket}/{key}", head)

    def read(self, key: str) -> Versioned | None:
        """Return an object of at most 16 MiB, or None if there is no such object."""

        def get() -> Versioned | None:
            try:
                answer = self._client.get_object(Bucket=self._bucket, Key=key)
            except ClientError as error:
                if code_of(error) in ABSENT:
                    return None
                raise
            data, length = answer["Body"].read(_MAX_SMALL + 1), answer["ContentLength"]
            if len(data) < min(length, _MAX_SMALL + 1):  # botocore checks the length only of what is read without limit
                raise TransientError(f"s3://{self._bucket}/{key} broke off after {len(data)} of {length} bytes")
            return Versioned(data, answer["ETag"])

        found = translated(f"reading s3://{self._bucket}/{key}", get)
        if found is not None and len(found.data) > _MAX_SMALL:
            raise StagingError(f"s3://{self._bucket}/{key} must be at most {_MAX_SMALL} bytes, got more")
        return found

    def write(self, key: str, data: bytes, replaces: str | None) -> str:
        """Write in place of exactly one version, or of none; return the new ETag. Raises ConflictError."""

        def put() -> str:
            bucket = self._bucket
            if replaces is None:
                return self._client.put_object(Bucket=bucket, Key=key, Body=data, IfNoneMatch="*")["ETag"]
            try:
                return self._client.put_object(Bucket=bucket, Key=key, Body=data, IfMatch=replaces)["ETag"]
            except ClientError as error:
                if code_of(error) in ABSENT:
                    raise ConflictError(f"{key} is gone") from error
                raise

        return translated(f"writing s3://{self._bucket}/{key}", put)

    def delete(self, key: str) -> None:
        """Delete an object; one that does not exist is no error."""
        translated(f"deleting {key}", lambda: self._client.delete_object(Bucket=self._bucket, Key=key))

    def keys(self, prefix: str) -> list[str]:
        """Return the keys under a prefix."""

        def listed() -> list[str]:
            pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=prefix)
            return [item.get("Key", "") for page in pages for item in page.get("Contents", [])]

        return [key for key in translated(f"listing {prefix}", listed) if key.startswith(prefix)]
