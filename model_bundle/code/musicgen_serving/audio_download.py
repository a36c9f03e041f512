"""Read the audio files that requests name in S3, from the places that the endpoint's role may read."""

from dataclasses import dataclass
from typing import Any, Protocol

from botocore.exceptions import BotoCoreError, ClientError

# Codes of statuses 400 and 403 that tell of the request's object, not of this container or of a moment's trouble.
_OF_THE_OBJECT = frozenset(("AccessDenied", "InvalidObjectState", "KeyTooLongError", "403", "404"))
INPUT_PREFIX, OUTPUT_PREFIX = "in/", "audio/"  # docs/contracts.md, "Keys"


class DownloadError(Exception):
    """S3 failed, or could not be reached, while an object was read."""


class DownloadRefusedError(Exception):
    """A request's URL names an object that cannot be used; the sentence goes on after the name of its field."""


class ReadingS3(Protocol):
    """The one method of boto3's S3 client that is used."""

    def get_object(self, *, Bucket: str, Key: str) -> Any: ...  # noqa: N803


@dataclass(frozen=True)
class AudioSource:
    """The objects that a request may name: under each bucket's prefix, `(bucket, prefix)`."""

    client: ReadingS3
    places: tuple[tuple[str, str], ...]

    @classmethod
    def of_buckets(cls, client: ReadingS3, input_bucket: str | None, output_buckets: tuple[str, ...]) -> "AudioSource":
        """Return the source that the stack grants: requests' own files, and clips of earlier requests."""
        inputs = ((input_bucket, INPUT_PREFIX),) if input_bucket else ()
        return cls(client, (*inputs, *((bucket, OUTPUT_PREFIX) for bucket in output_buckets)))

    def read(self, url: str, limit: int) -> bytes:
        """Return the object at `url`, `s3://bucket/key`, of at most `limit` bytes.

        Raises DownloadRefusedError if it is elsewhere, missing, not readable or larger, DownloadError if S3 fails.
        """
        bucket, _, key = url.removeprefix("s3://").partition("/")
        if not any(bucket == allowed and key.startswith(prefix) for allowed, prefix in self.places):
            allowed = ", ".join(f"s3://{bucket}/{prefix}" for bucket, prefix in self.places)
            raise DownloadRefusedError(f"must be under one of {allowed}, got {url}")
        try:
            found = self.client.get_object(Bucket=bucket, Key=key)
            size, body = int(found["ContentLength"]), found["Body"]
            try:
                if size > limit:
                    raise DownloadRefusedError(f"must be an object of at most {limit} bytes, got {size} at {url}")
                data: bytes = body.read(limit + 1)
            finally:
                body.close()
        except ClientError as error:
            code = str(error.response.get("Error", {}).get("Code", "ClientError"))
            status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
            if status == 404 or (status < 500 and (code in _OF_THE_OBJECT or code.startswith("KMS."))):
                raise DownloadRefusedError(
                    f"must be an object that exists and that the endpoint's role may read, got {code} for {url}"
                ) from error
            raise DownloadError(f"could not read {url}: {code}") from error
        except BotoCoreError as error:
            raise DownloadError(f"could not read {url}: {type(error).__name__}") from error
        if len(data) != size:
            raise DownloadError(f"could not read {url}: {len(data)} bytes came of {size}")
        return data
