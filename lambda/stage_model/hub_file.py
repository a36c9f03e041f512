"""One published file: where its bytes really are, and reading exact ranges of them."""

import http.client
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import urljoin

from stage_model.body import read_body
from stage_model.connections import Connections, Request, raise_if_busy, split_url
from stage_model.errors import StagingError, TransientError
from stage_model.patience import Patience
from stage_model.views import ViewCursor, Views, total_length

REDIRECTS = frozenset({301, 302, 303, 307, 308})
MAX_REDIRECTS = 5


@dataclass(frozen=True)
class Location:
    """Where to read, with which headers. A `signed` address lives about an hour; a new one is to be had."""

    url: str
    headers: Mapping[str, str]
    signed: bool


class HubFile:
    """A file of a pinned commit. Its address is found once, used for every range, and found anew when it expires.

    `origin` gives the address to begin with: the Hub's, which redirects to a signed one, or a signed one itself.
    """

    def __init__(
        self, name: str, size: int, connections: Connections, patience: Patience, origin: Callable[[], Location]
    ) -> None:
        self.size = size
        self._name = name
        self._origin = origin
        self._connections = connections
        self._patience = patience
        self._lock = threading.Lock()
        self._location: Location | None = None
        self._etag: str | None = None

    def read_into(self, offset: int, views: Views) -> None:
        """Fill the views with the bytes from `offset` on; a broken transfer goes on where it broke.

        Raises StagingError on a refusal or a changed file, OutOfTimeError at the deadline.
        """
        cursor, end = ViewCursor(views), offset + total_length(views)
        attempts = self._patience.start()
        while offset + cursor.filled < end:
            self._patience.check_deadline()
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
            if hops > MAX_REDIRECTS:
                raise StagingError(f"{self._name} must redirect at most {MAX_REDIRECTS} times")
        self._location = location

    def _request_range(self, location: Location, start: int, end: int, cursor: ViewCursor) -> Location | None:
        headers = {**location.headers, "Range": f"bytes={start}-{end - 1}"}
        if self._etag is not None and not self._etag.startswith("W/") and location == self._location:
            headers["If-Match"] = self._etag
        with self._connections.exchange(Request("GET", location.url, headers)) as exchange:
            response = exchange.response
            if response.status in REDIRECTS:
                response.read(65536)
                return follow(location, response.headers.get("Location", ""))
            raise_if_busy(response, "the source")
            self._raise_for(response.status, location)
            self._check_range(response, start, end)
            self._check_etag(response.headers.get("ETag"), location)
            read_body(response, exchange.socket, cursor, self._patience.check_deadline)
        return None

    def _raise_for(self, status: int, location: Location) -> None:
        if status in (401, 403) and location.signed:
            self._location = None
            raise TransientError(f"the signed address of {self._name} was refused with {status}")
        if status in (401, 403):
            raise StagingError(f"{self._name} is gated or private: the Hub answered {status}")
        if status == 412:
            raise StagingError(f"{self._name} changed while it was read")
        if status not in (200, 206):
            raise StagingError(f"{self._name} must answer 206 to a range, got {status}")

    def _check_range(self, response: http.client.HTTPResponse, start: int, end: int) -> None:
        length = response.headers.get("Content-Length")
        if length not in (None, str(end - start)):
            raise StagingError(f"{self._name} must send {end - start} bytes, got Content-Length {length}")
        if response.status == 206:
            want, got = f"bytes {start}-{end - 1}/{self.size}", response.headers.get("Content-Range")
        else:  # 200: the whole file, right only when the whole was asked for
            want, got = f"bytes 0-{self.size - 1}", f"bytes {start}-{end - 1}"
        if want != got:
            raise StagingError(f"{self._name} must send {want}, got {got}")

    def _check_etag(self, etag: str | None, location: Location) -> None:
        with self._lock:
            known = self._etag if location == self._location else None
            if known is not None and etag is not None and etag != known:
                raise StagingError(f"{self._name} changed while it was read: its ETag {known} became {etag}")
            self._etag = etag


def follow(location: Location, target: str) -> Location:
    """Return where a redirect leads. Raises StagingError for a target that is not allowed."""
    url = urljoin(location.url, target)
    here, there = split_url(location.url), split_url(url)
    if here.scheme == "https" and there.scheme != "https":  # to this machine, where Lambda's runtime API listens
        raise StagingError(f"a redirect from {here.hostname} must lead to https, got {there.scheme}://{there.hostname}")
    same_host = (here.scheme, here.netloc) == (there.scheme, there.netloc)
    # The token is the Hub's: it never goes to another host.
    return Location(url, location.headers if same_host else {}, location.signed or not same_host)
