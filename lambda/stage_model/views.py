"""Walking over a destination that is scattered over memory: the payload's places in a framed part."""

from collections.abc import Iterable, Sequence

Views = Sequence[memoryview]


def total_length(views: Views) -> int:
    """Return the views' length in bytes, together."""
    return sum(map(len, views))


def scatter(data: bytes | memoryview, views: Views) -> None:
    """Copy `data`, which must be as long as the views together, into them."""
    at = 0
    for view in views:
        view[:] = data[at : at + len(view)]
        at += len(view)


class ViewCursor:
    """A position in a sequence of views that are filled from their start."""

    def __init__(self, views: Iterable[memoryview]) -> None:
        self._rest = [view for view in views if len(view)]
        self._rest.reverse()
        self.filled = 0

    def next_view(self) -> memoryview | None:
        """Return the next empty stretch, or None when all is filled."""
        return self._rest[-1] if self._rest else None

    def advance(self, count: int) -> None:
        """Note that the first `count` bytes of the next view are filled."""
        if not count:
            return
        view = self._rest.pop()
        if count < len(view):
            self._rest.append(view[count:])
        self.filled += count


class ViewWriter:
    """Writes into a sequence of views, from their start on."""

    def __init__(self, views: Views) -> None:
        self._rest = iter(views)
        self._view = next(self._rest, memoryview(b""))

    def write(self, data: bytes | memoryview) -> None:
        """Write all of `data`; there must be room for it."""
        at = 0
        while at < len(data):
            while not len(self._view):
                self._view = next(self._rest)
            count = min(len(self._view), len(data) - at)
            self._view[:count] = data[at : at + count]
            self._view = self._view[count:]
            at += count
