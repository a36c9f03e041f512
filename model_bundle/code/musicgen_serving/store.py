"""The buckets that audio goes to, and the keys under them (docs/contracts.md, "Keys")."""

from typing import Protocol

from botocore.exceptions import BotoCoreError, ClientError

from musicgen_serving.errors import InvalidRequestError, UploadError
from musicgen_serving.parameters import shown


class PutsObjects(Protocol):
    """The one call of an S3 client that is used."""

    def put_object(self, *, Bucket: str, Key: str, Body: bytes, ContentType: str) -> object:  # noqa: N803  # boto3's names
        """Write one object."""
        ...


class AudioStore:
    """Writes one request's objects under `audio/<inference id>/` of an allowed bucket."""

    def __init__(self, client: PutsObjects, buckets: tuple[str, ...]) -> None:
        self._client = client
        self._buckets = buckets

    def bucket(self, named: str | None) -> str:
        """The bucket that a request names, or the output bucket; InvalidRequestError for one that is not allowed."""
        if named is None:
            return self._buckets[0]
        if named not in self._buckets:
            allowed = ", ".join(self._buckets)
            raise InvalidRequestError(f"bucket_name must be one of {allowed}, got {shown(named)}")
        return named

    def put(self, bucket: str, inference_id: str, name: str, body: bytes, content_type: str) -> str:
        """Write `audio/<inference id>/<name>` and return its s3:// address; writing it again changes nothing.

        Raises UploadError where S3 refuses, or cannot be reached after all retries.
        """
        key = f"audio/{inference_id}/{name}"
        try:
            self._client.put_object(Bucket=bucket, Key=key, Body=body, ContentType=content_type)
        except ClientError as error:
            code = error.response.get("Error", {}).get("Code", "an unnamed error")
            raise UploadError(f"s3://{bucket}/{key} must be writable, got {code}") from error
        except BotoCoreError as error:
            raise UploadError(f"s3://{bucket}/{key} must be writable, got {type(error).__name__}") from error
        return f"s3://{bucket}/{key}"
