"""What happened on an endpoint, under the names of SageMaker's metrics, until somebody publishes it."""

import threading
from collections import deque

_MOST = 10_000  # values a name that are kept while nobody takes them


class Tally:
    """Values that several threads add: 1 for an event (InvocationsProcessed, ExpiredRequests, ...), or a duration."""

    def __init__(self) -> None:
        self._values: dict[str, deque[float]] = {}
        self._lock = threading.Lock()

    def add(self, name: str, value: float = 1.0) -> None:
        """One more value of `name`."""
        with self._lock:
            self._values.setdefault(name, deque(maxlen=_MOST)).append(value)

    def take(self) -> dict[str, tuple[float, ...]]:
        """The values added since the last call, by name."""
        with self._lock:
            taken, self._values = self._values, {}
        return {name: tuple(values) for name, values in taken.items()}
