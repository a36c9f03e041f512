"""One memory budget per run, charged before anything is read or parsed.

What a repository publishes decides how much memory staging needs: files that are held whole, the Python objects of
parsed JSON and pickles (up to 60 times their text), tensors and parts. Costs are upper bounds that were measured; the
limits of single inputs are in docs/staging.md.
"""

import json
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

from stage_model.errors import StagingError

# Bytes over what a small model needs: 24 MiB below 200, for what the allocator keeps and TLS.
MEMORY_BUDGET = 176 << 20
# Bytes of Python objects for each of these characters. A dictionary's is counted with one entry, a text's with half.
_JSON_COSTS = {b"[": 120, b"{": 240, b",": 64, b":": 96, b'"': 40}


class MemoryBudget:
    """The bytes that a run may still use. Used by the thread that plans; parts in flight are charged by then."""

    def __init__(self, limit: int = MEMORY_BUDGET) -> None:
        self._limit = self._left = limit

    def charge(self, what: str, nbytes: int) -> None:
        """Reserve memory for the rest of the run. Raises StagingError if there is not enough; `what` begins it."""
        if nbytes > self._left:
            raise StagingError(
                f"{what} would need {nbytes} bytes of memory, got {self._left} left of the {self._limit} of a run"
            )
        self._left -= nbytes

    @contextmanager
    def lend(self, what: str, nbytes: int = 0) -> Generator[Callable[[int], None]]:
        """Reserve memory for a block, and more through the function that it yields. Raises as `charge` does."""
        lent = 0

        def charge(more: int) -> None:
            nonlocal lent
            self.charge(what, more)
            lent += more

        try:
            charge(nbytes)
            yield charge
        finally:
            self._left += lent

    def parse_json(self, what: str, data: bytes) -> Any:
        """Return a JSON document in UTF-8; the caller must not keep much of it.

        Raises StagingError if the document could need too much memory, or is malformed.
        """
        with self.lend(what, json_cost(data)):
            try:
                return json.loads(data.decode())
            except (ValueError, RecursionError) as error:
                raise StagingError(f"{what} must be JSON in UTF-8, got {error!s:.200}") from error


def text_cost(data: bytes) -> int:
    """Return the bytes that a text in UTF-8 can take in memory: four per character if one needs four."""
    return len(data) if data.isascii() else 4 * len(data)


def json_cost(data: bytes) -> int:
    """Return the bytes that a document can take while it is parsed: its text, its strings, and its objects."""
    return 2 * text_cost(data) + sum(data.count(mark) * cost for mark, cost in _JSON_COSTS.items())
