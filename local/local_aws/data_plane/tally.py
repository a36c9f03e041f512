"""Counts of what happened on an endpoint, under the names of SageMaker's metrics."""

import threading
from collections import Counter


class Tally:
    """Counts that several threads add to: InvocationsProcessed, InvocationFailures, ExpiredRequests, ..."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._lock = threading.Lock()

    def add(self, name: str) -> None:
        """One more of `name`."""
        with self._lock:
            self._counts[name] += 1

    def counts(self) -> Counter[str]:
        """All counts since the beginning: a copy."""
        with self._lock:
            return self._counts.copy()
