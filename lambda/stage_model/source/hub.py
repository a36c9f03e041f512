# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# The SDK's stubs for Secrets Manager are not installed.
"""The Hugging Face Hub: the listing of a commit, ranged reads of its files, and the token for gated models."""

import http.client
import os
import re
import threading
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass

import boto3

from stage_model.errors import StagingError, TransientError
from stage_model.http import (
    Connections,
    Request,
    ViewCursor,
    join_url,
    raise_if_retryable,
    read_body,
    read_limited,
    split_url,
)
from stage_model.retry import RetryBudget, retry
from stage_model.s3 import client_config, translated_errors
from stage_model.source.byte_source import Views, total_length
from stage_model.source.repository_listing import MAX_LISTING, RepoFile, parse_listing

_USER_AGENT = "musicgen-on-aws/1 stage_model"
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_MAX_REDIRECTS = 5
_STRONG_ETAG = re.compile(r'"[!#-~]{0,256}"')
_TOKEN = re.compile(r"(?=.{8,512}$)[A-Za-z0-9._~+/-]+=*")  # RFC 6750 §2.1: what may follow "Bearer"


@dataclass(frozen=True)
class Location:
    """A URL, and the Hub token to send to it; a `signed` URL expires after about an hour and is then replaced."""

    url: str
    token: str | None = None
    signed: bool = False

    @property
    def headers(self) -> dict[str, str]:
        return {"User-Agent": _USER_AGENT} | ({"Authorization": f"Bearer {self.token}"} if self.token else {})

    def refusal(self, status: int) -> str:
        return f"the Hub answered {status} {'to the token given' if self.token else 'and no token is configured'}"


class RemoteFile:
    """A file of a pinned commit. Its signed URL is resolved once, used for every range, and again after it expires.

    `origin` returns the first location: the Hub's, which redirects to a signed URL, or a signed one itself.
    """

    def __init__(
        self, name: str, size: int, connections: Connections, budget: RetryBudget, origin: Callable[[], Location]
    ) -> None:
        self.size = size
        self._name = name
        self._origin = origin
        self._connections = connections
        self._budget = budget
        self._lock = threading.Lock()
        self._location: Location | None = None
        self._etag: str | None = None

    def read_into(self, offset: int, views: Views) -> None:
        """Fill the views with the bytes from `offset` on; a broken transfer resumes where it stopped.

        Raises StagingError if the file is refused or has changed, OutOfTimeError at the deadline.
        """
        cursor, end = ViewCursor(views), offset + total_length(views)
        attempts = self._budget.attempts()
        while offset + cursor.filled < end:
            self._budget.check_deadline()
            before = cursor.filled
            try:
                self._read_once(offset + cursor.filled, end, cursor)
            except TransientError as error:
                if cursor.filled > before:
                    attempts.progressed()
                attempts.wait_after(error)

    def _read_once(self, start: int, end: int, cursor: ViewCursor) -> None:
        location, hops = self._location or self._origin(), 0
        while (redirect := self._request_range(location, start, end, cursor)) is not None:
            location, hops = redirect, hops + 1
            if hops > _MAX_REDIRECTS:
                raise StagingError(f"{self._name} redirected more than {_MAX_REDIRECTS} times")
        self._location = location

    def _request_range(self, location: Location, start: int, end: int, cursor: ViewCursor) -> Location | None:
        headers = location.headers | {"Range": f"bytes={start}-{end - 1}"}
        if self._etag is not None and _STRONG_ETAG.fullmatch(self._etag) and location == self._location:
            headers["If-Match"] = self._etag
        with self._connections.exchange(Request("GET", location.url, headers), self._budget) as exchange:
            response = exchange.response
            if response.status in _REDIRECTS:
                exchange.read()
                return follow_redirect(location, response.headers.get("Location", ""))
            raise_if_retryable(response, "the source")
            self._raise_for(response.status, location)
            self._check_range(response, start, end)
            self._check_etag(response.headers.get("ETag"), location)
            read_body(exchange, cursor, end - start)
        return None

    def _raise_for(self, status: int, location: Location) -> None:
        if status in (401, 403) and location.signed:
            self._location = None
            raise TransientError(f"the signed address of {self._name} was refused with {status}")
        if status in (401, 403):
            raise StagingError(f"{self._name} is gated or private: {location.refusal(status)}")
        if status == 412:
            raise StagingError(f"{self._name} changed while it was read")
        if status not in (200, 206):
            raise StagingError(f"{self._name} was answered with {status}, not with the requested range")

    def _check_range(self, response: http.client.HTTPResponse, start: int, end: int) -> None:
        length = response.headers.get("Content-Length")
        if length not in (None, str(end - start)):
            raise StagingError(f"{self._name} must send {end - start} bytes, got Content-Length {length!a:.100}")
        if response.status == 206:
            want, got = f"bytes {start}-{end - 1}/{self.size}", response.headers.get("Content-Range")
        else:  # 200: the whole file, valid only if all of it was requested
            want, got = f"bytes 0-{self.size - 1}", f"bytes {start}-{end - 1}"
        if want != got:
            raise StagingError(f"{self._name} must send {want}, got {got!a:.100}")

    def _check_etag(self, etag: str | None, location: Location) -> None:
        with self._lock:
            known = self._etag if location == self._location else None
            if known is not None and etag is not None and etag != known:
                raise StagingError(
                    f"{self._name} changed while it was read: its ETag {known!a:.100} became {etag!a:.100}"
                )
            self._etag = etag


def follow_redirect(location: Location, target: str) -> Location:
    """Return the location that a redirect names. Raises StagingError if it may not be followed."""
    url = join_url(location.url, target)
    here, there = split_url(location.url), split_url(url)
    if here.scheme == "https" and there.scheme != "https":  # http to loopback is Lambda's runtime API
        raise StagingError(f"a redirect from {here.hostname} must lead to https, got {there.scheme}://{there.hostname}")
    same_host = (here.scheme, here.netloc) == (there.scheme, there.netloc)
    # The Hub's token must never be sent to another host.
    return Location(url, location.token if same_host else None, location.signed or not same_host)


class HubRepository:
    """A commit on the Hub or an API-compatible mirror; `token` gives access to gated and private models."""

    def __init__(
        self, endpoint: str, model_id: str, revision: str, connections: Connections, budget: RetryBudget,
        token: str | None = None,
    ) -> None:  # fmt: skip
        self._endpoint = endpoint.rstrip("/")
        self._model_id, self._revision = model_id, revision
        self._connections, self._budget = connections, budget
        self._name = f"model {model_id} at revision {revision}"
        self._token = token

    def list_files(self) -> list[RepoFile]:
        """Return the files at the root. Raises StagingError for an unknown or gated model or commit."""
        return parse_listing(self.listing(), self._name, self._revision)

    def listing(self) -> bytes:
        """Return the Hub's JSON listing, which an S3 mirror stores as is. Raises StagingError as `list_files` does."""
        return retry(self._budget, self._fetch_listing)

    def open(self, file: RepoFile) -> RemoteFile:
        url = f"{self._endpoint}/{self._model_id}/resolve/{self._revision}/{file.path}"
        return RemoteFile(url, file.size, self._connections, self._budget, lambda: Location(url, self._token))

    def _fetch_listing(self) -> bytes:
        url = f"{self._endpoint}/api/models/{self._model_id}/revision/{self._revision}?blobs=true"
        location = Location(url, self._token)
        for _ in range(1 + _MAX_REDIRECTS):
            with self._connections.exchange(Request("GET", location.url, location.headers), self._budget) as exchange:
                response = exchange.response
                if response.status in _REDIRECTS:  # a renamed model
                    exchange.read()
                    location = follow_redirect(location, response.headers.get("Location", ""))
                    continue
                raise_if_retryable(response, "the Hub")
                if response.status in (401, 403):
                    refusal = location.refusal(response.status)
                    raise StagingError(f"{self._name} is gated, private or does not exist: {refusal}")
                if response.status == 404:
                    raise StagingError(f"{self._name} does not exist on the Hub")
                if response.status != 200:
                    raise StagingError(f"the Hub answered {response.status} to a request for {self._name}")
                return read_limited(exchange, MAX_LISTING)
        raise StagingError(f"the listing of {self._name} redirected more than {_MAX_REDIRECTS} times")


def read_token(secret_arn: str) -> str:
    """Return the Hub token in a secret. Raises StagingError if it is not readable or malformed, or TransientError."""
    client = boto3.client("secretsmanager", region_name=os.environ.get("AWS_REGION"), config=client_config())
    with closing(client), translated_errors(f"reading the secret {secret_arn}"):
        token = str(client.get_secret_value(SecretId=secret_arn).get("SecretString", "")).strip()
    if not _TOKEN.fullmatch(token):
        hint = ", not key and value" if token.startswith("{") else ""  # the console's default form
        raise StagingError(f"the secret {secret_arn} must hold the token as plain text{hint}")  # never show its value
    return token
