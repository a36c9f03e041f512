"""Encode clips as WAV, and write objects to the buckets that audio goes to."""

import io
import wave
from typing import TYPE_CHECKING, Protocol

from botocore.exceptions import BotoCoreError, ClientError

if TYPE_CHECKING:  # multi-model-server's supervisor forks after importing this; keep numpy's threads out of it
    import numpy as np
    from numpy.typing import NDArray

FULL_SCALE = 32767


class UploadError(Exception):
    """An object could not be written to S3."""


class S3Client(Protocol):
    """The one method of boto3's S3 client that is used."""

    def put_object(self, *, Bucket: str, Key: str, Body: bytes, ContentType: str) -> object: ...  # noqa: N803


class AudioStore:
    """The buckets that a request may name, the default first."""

    def __init__(self, client: S3Client, buckets: tuple[str, ...]) -> None:
        self._client = client
        self.buckets = buckets

    def put(self, bucket: str, key: str, body: bytes, content_type: str) -> str:
        """Write an object and return its s3:// URL; UploadError if S3 refuses, or is unreachable after all retries."""
        url = f"s3://{bucket}/{key}"
        try:
            self._client.put_object(Bucket=bucket, Key=key, Body=body, ContentType=content_type)
        except (ClientError, BotoCoreError) as error:
            reason = type(error).__name__
            if isinstance(error, ClientError):
                reason = error.response.get("Error", {}).get("Code", reason)
            raise UploadError(f"could not write {url}: {reason}") from error
        return url


def wav_bytes(samples: "NDArray[np.float32]", sampling_rate: int) -> bytes:
    """Return `samples` [channels, samples] as a 16-bit PCM WAV file; values outside ±1 are clipped."""
    pcm = (samples.clip(-1.0, 1.0) * FULL_SCALE).round().astype("<i2")
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(samples.shape[0])
        file.setsampwidth(2)
        file.setframerate(sampling_rate)
        file.writeframes(pcm.T.tobytes())
    return buffer.getvalue()
