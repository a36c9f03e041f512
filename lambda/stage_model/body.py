"""Reading a response's body straight from its socket into the places where it belongs.

`HTTPResponse.readinto` passes three Python layers per TLS record of 16 KiB, which together cost as much as the
decryption. Only what the response's own buffer already holds is taken from there.
"""

import http.client
import socket
from collections.abc import Callable

from stage_model.errors import TransientError
from stage_model.views import ViewCursor

Receive = Callable[[memoryview, int], int]  # into the view, at most so many bytes; returns how many


def read_body(
    response: http.client.HTTPResponse, connection: socket.socket, cursor: ViewCursor, check: Callable[[], None]
) -> None:
    """Fill the cursor's views with the whole body, whose Content-Length must be what is left to fill.

    `check` is called before every read and may raise. Raises TransientError when the body ends early.
    """
    left = response.length
    if left is None:  # chunked: rare, and http.client knows how
        _fill(cursor, lambda view, _: response.readinto(view), check)
    elif left:
        buffered = response.fp.peek()[:left]
        _copy(response.fp.read(len(buffered)), cursor)
        _fill(cursor, connection.recv_into, check)
        response.length = 0
    response.read(1)  # reaches the end of the body, so that the connection can be used again


def read_whole(response: http.client.HTTPResponse, limit: int) -> bytes:
    """Return a body of at most `limit` bytes, or `limit + 1` bytes of a longer one.

    Raises TransientError when it ends early: http.client says nothing of that to whoever reads with a limit.
    """
    data = response.read(limit + 1)
    if response.length and len(data) <= limit:
        raise TransientError(f"an answer broke off {response.length} bytes early")
    return data


def _copy(data: bytes, cursor: ViewCursor) -> None:
    while data and (view := cursor.next_view()) is not None:
        count = min(len(view), len(data))
        view[:count] = data[:count]
        cursor.advance(count)
        data = data[count:]


def _fill(cursor: ViewCursor, receive: Receive, check: Callable[[], None]) -> None:
    while (view := cursor.next_view()) is not None:
        rest, left = view, len(view)
        while left:
            check()  # before every wait: what is cast is read into one view, a whole part long
            count = receive(rest, left)
            if not count:
                cursor.advance(len(view) - left)
                raise TransientError("the source broke off early")
            left -= count
            rest = rest[count:]
        cursor.advance(len(view))
