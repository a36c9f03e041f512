"""Write objects to the buckets that audio goes to."""

from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Protocol

from botocore.exceptions import BotoCoreError, ClientError

UPLOADS_TOGETHER = 4  # of one request; a clip of 30 s has at most 3.9 MB


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


class Uploads:
    """One request's uploads, a few at a time: each begins when it is added, while other clips are generated.

    No more than `UPLOADS_TOGETHER` bodies are held, so memory stays bounded if S3 is slower than the engine.
    """

    def __init__(self, store: AudioStore) -> None:
        self._store = store
        self._threads = ThreadPoolExecutor(UPLOADS_TOGETHER, "upload")
        self._running: dict[Future[str], int] = {}
        self._urls: dict[int, str] = {}

    def start(self, index: int, bucket: str, key: str, body: bytes, content_type: str) -> None:
        """Upload object `index`, after waiting until fewer than the limit are running; UploadError if one failed."""
        self._collect(UPLOADS_TOGETHER - 1)
        self._running[self._threads.submit(self._store.put, bucket, key, body, content_type)] = index

    def finish(self) -> list[str]:
        """Wait for all uploads and return their URLs in the order of their indices; UploadError if one failed."""
        try:
            self._collect(0)
        finally:
            self.cancel()
        return [self._urls[index] for index in sorted(self._urls)]

    def cancel(self) -> None:
        """Drop uploads that have not begun; those that have go on in the background."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _collect(self, most: int) -> None:
        """Take the results of finished uploads, waiting until at most `most` are running."""
        while True:
            for upload in [one for one in self._running if one.done()]:
                self._urls[self._running.pop(upload)] = upload.result()
            if len(self._running) <= most:
                return
            wait(self._running, return_when=FIRST_COMPLETED)
