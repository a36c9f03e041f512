"""Virtual time: things that happen in order, and between which nothing happens."""

import heapq
import itertools
from collections.abc import Callable


class Events:
    """A clock that jumps from one event to the next. Events at the same time happen in the order of their making."""

    def __init__(self) -> None:
        self.now = 0.0
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()

    def at(self, time: float, action: Callable[[], None]) -> None:
        """Has `action` happen at `time` (seconds), now at the earliest."""
        heapq.heappush(self._heap, (max(time, self.now), next(self._order), action))

    def after(self, delay: float, action: Callable[[], None]) -> None:
        """Has `action` happen in `delay` seconds."""
        self.at(self.now + delay, action)

    def run(self, done: Callable[[], bool]) -> None:
        """Lets events happen until `done` or until none is left."""
        while self._heap and not done():
            self.now, _, action = heapq.heappop(self._heap)
            action()
