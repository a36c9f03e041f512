"""Write objects to the buckets that audio goes to, whole or while they grow."""

import threading
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any, Protocol

from boto3.s3.transfer import TransferConfig
from botocore.exceptions import BotoCoreError, ClientError

UPLOADS_TOGETHER = 4  # of one request; a clip of 30 s has at most 3.9 MB
STREAMS_TOGETHER = UPLOADS_TOGETHER - 1  # a stream ends when its clip does, so one thread is left for whole files
PART_BYTES = 5 * 2**20  # the least that S3 takes as a part; what is shorter is uploaded as a whole
# The CRT client, which boto3 would choose on some GPU instances, has threads and retries of its own.
_IN_PARTS = TransferConfig(
    PART_BYTES, multipart_chunksize=PART_BYTES, use_threads=False, preferred_transfer_client="classic"
)


class UploadError(Exception):
    """An object could not be written to S3."""


class S3Client(Protocol):
    """The methods of boto3's S3 client that are used."""

    def put_object(self, *, Bucket: str, Key: str, Body: bytes, ContentType: str) -> object: ...  # noqa: N803

    def upload_fileobj(
        self, Fileobj: Any, Bucket: str, Key: str, ExtraArgs: dict[str, str], *, Config: TransferConfig  # noqa: N803
    ) -> None: ...  # fmt: skip


class GrowingBody:
    """A file that one thread writes and another reads; at most `limit` bytes are held, so that a slow S3 is waited for.

    Either end fails once the other has.
    """

    def __init__(self, limit: int = 2 * PART_BYTES) -> None:
        self._limit = limit
        self._held = bytearray()
        self._ended = False
        self._error: BaseException | None = None
        self._changed = threading.Condition()

    def write(self, data: bytes) -> None:
        """Append bytes; raise the reader's error."""
        with self._changed:
            self._changed.wait_for(lambda: len(self._held) < self._limit or self._error)
            if self._error:
                raise self._error
            self._held += data
            self._changed.notify_all()

    def close(self) -> None:
        """End the file: nothing follows what is written."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def fail(self, error: BaseException) -> None:
        """Let both ends raise `error`, so that a file that is not whole is never taken for one."""
        with self._changed:
            self._error = self._error or error
            self._changed.notify_all()

    def read(self, size: int = -1) -> bytes:
        """Return the next `size` bytes, fewer only at the end, and all if it is below 0; raise the writer's error."""
        data = bytearray()
        while size < 0 or len(data) < size:
            with self._changed:
                self._changed.wait_for(lambda: self._held or self._ended or self._error)
                if self._error:
                    raise self._error
                if not self._held:
                    break
                count = len(self._held) if size < 0 else size - len(data)
                data += self._held[:count]
                del self._held[:count]
                self._changed.notify_all()
        return bytes(data)


class AudioStore:
    """The buckets that a request may name, the default first."""

    def __init__(self, client: S3Client, buckets: tuple[str, ...]) -> None:
        self._client = client
        self.buckets = buckets

    def put(self, bucket: str, key: str, body: bytes | GrowingBody, content_type: str) -> str:
        """Write an object and return its s3:// URL; UploadError if S3 refuses, or is unreachable after all retries.

        A body that grows is uploaded in parts as it does. If it fails, boto3 aborts the upload, and there is no object.
        """
        url = f"s3://{bucket}/{key}"
        try:
            if isinstance(body, bytes):
                self._client.put_object(Bucket=bucket, Key=key, Body=body, ContentType=content_type)
            else:
                arguments = {"ContentType": content_type}
                self._client.upload_fileobj(body, bucket, key, arguments, Config=_IN_PARTS)
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
        self._growing: dict[Future[str], GrowingBody] = {}
        self._urls: dict[int, str] = {}

    def start(self, index: int, bucket: str, key: str, body: bytes, content_type: str) -> None:
        """Upload object `index`, after waiting until fewer than the limit are running; UploadError if one failed."""
        self._collect(UPLOADS_TOGETHER - 1)
        self._running[self._threads.submit(self._store.put, bucket, key, body, content_type)] = index

    def stream(self, index: int, bucket: str, key: str, content_type: str) -> GrowingBody | None:
        """Upload object `index` as the returned body grows; None if that had to wait. UploadError if one failed."""
        self._collect(UPLOADS_TOGETHER)
        if len(self._growing) >= STREAMS_TOGETHER or len(self._running) >= UPLOADS_TOGETHER:
            return None
        body = GrowingBody()
        upload = self._threads.submit(self._put_growing, bucket, key, body, content_type)
        self._running[upload], self._growing[upload] = index, body
        return body

    def _put_growing(self, bucket: str, key: str, body: GrowingBody, content_type: str) -> str:
        try:
            return self._store.put(bucket, key, body, content_type)
        except BaseException as error:
            body.fail(error)  # or its writer would wait for room
            raise

    def finish(self) -> list[str]:
        """Wait for all uploads and return their URLs in the order of their indices; UploadError if one failed."""
        try:
            self._collect(0)
        except BaseException as error:
            self.cancel(error)
            raise
        self._threads.shutdown(wait=False)
        return [self._urls[index] for index in sorted(self._urls)]

    def cancel(self, error: BaseException) -> None:
        """Drop uploads that have not begun and those of bodies that still grow; others go on in the background."""
        for body in self._growing.values():
            body.fail(error)
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _collect(self, most: int) -> None:
        """Take the results of finished uploads, waiting until at most `most` are running."""
        while True:
            for upload in [one for one in self._running if one.done()]:
                self._growing.pop(upload, None)
                self._urls[self._running.pop(upload)] = upload.result()
            if len(self._running) <= most:
                return
            wait(self._running, return_when=FIRST_COMPLETED)
