"""One published file: where its bytes really are, and reading exact ranges of them."""

import http.client
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urljoin

from stage_model.connections import Connections, Request, raise_if_busy, split_url
from stage_model.errors import StagingError, TransientError
from stage_model.patience import Patience
from stage_model.views import ViewCursor, Views, total_length

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_MAX_REDIRECTS = 5


@dataclass(frozen=True)
class Location:
    """Where the Hub sends readers of a file: a signed URL of another host, mostly, or the Hub itself."""

    url: str
    headers: Mapping[str, str]
    off_hub: bool


class HubFile:
    """A file of a pinned commit. The redirect is resolved once, used for every range, and anew when it expires."""

    def __init__(self, url: str, size: int, connections: Connections, patience: Patience, token: str | None) -> None:
        self.size = size
        self._origin = Location(url, {"Authorization": f"Bearer {token}"} if token else {}, off_hub=False)
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
        location, hops = self._location or self._origin, 0
        while True:
            redirect = self._request_range(location, start, end, cursor)
            if redirect is None:
                self._location = location
                return
            location, hops = redirect, hops + 1
            if hops > _MAX_REDIRECTS:
                raise StagingError(f"{self._origin.url} must redirect at most {_MAX_REDIRECTS} times")

    def _request_range(self, location: Location, start: int, end: int, cursor: ViewCursor) -> Location | None:
        headers = {**location.headers, "Range": f"bytes={start}-{end - 1}"}
        if self._etag is not None and not self._etag.startswith("W/") and location == self._location:
            headers["If-Match"] = self._etag
        with self._connections.exchange(Request("GET", location.url, headers)) as response:
            if response.status in _REDIRECTS:
                response.read(65536)
                return self._follow(location, response)
            raise_if_busy(response, "the source")
            self._raise_for(response.status, location)
            self._check_range(response, start, end)
            self._check_etag(response, location)
            _read_body(response, end - start, cursor)
        return None

    def _follow(self, location: Location, response: http.client.HTTPResponse) -> Location:
        target = urljoin(location.url, response.headers.get("Location", ""))
        here, there = split_url(location.url), split_url(target)
        same_host = (here.scheme, here.netloc) == (there.scheme, there.netloc)
        # The token is the Hub's: it never goes to another host.
        return Location(target, location.headers if same_host else {}, location.off_hub or not same_host)

    def _raise_for(self, status: int, location: Location) -> None:
        if status in (401, 403) and location.off_hub:
            self._location = None  # a signed URL lives about an hour: ask the Hub for a new one
            raise TransientError(f"the signed address of {self._origin.url} was refused with {status}")
        if status in (401, 403):
            raise StagingError(f"{self._origin.url} is gated or private: the Hub answered {status}")
        if status == 412:
            raise StagingError(f"{self._origin.url} changed while it was read")
        if status not in (200, 206):
            raise StagingError(f"{self._origin.url} must answer 206 to a range, got {status}")

    def _check_range(self, response: http.client.HTTPResponse, start: int, end: int) -> None:
        length = response.headers.get("Content-Length")
        if length not in (None, str(end - start)):
            raise StagingError(f"{self._origin.url} must send {end - start} bytes, got Content-Length {length}")
        if response.status == 206:
            want, got = f"bytes {start}-{end - 1}/{self.size}", response.headers.get("Content-Range")
        else:  # 200: the whole file, right only when the whole was asked for
            want, got = (0, self.size), (start, end)
        if want != got:
            raise StagingError(f"{self._origin.url} must send range {want}, got {got}")

    def _check_etag(self, response: http.client.HTTPResponse, location: Location) -> None:
        etag = response.headers.get("ETag")
        with self._lock:
            if self._etag is not None and etag is not None and etag != self._etag and location == self._location:
                raise StagingError(f"{self._origin.url} changed while it was read: ETag {self._etag} became {etag}")
            self._etag = etag


def _read_body(response: http.client.HTTPResponse, length: int, cursor: ViewCursor) -> None:
    goal = cursor.filled + length
    while (view := cursor.next_view()) is not None:
        count = response.readinto(view)
        if not count:
            raise TransientError(f"the source broke off {goal - cursor.filled} bytes early")
        cursor.advance(count)
    response.read(1)  # reaches the end of the body, so that the connection can be used again
