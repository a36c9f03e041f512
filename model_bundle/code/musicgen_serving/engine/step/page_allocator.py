"""The allocator of KV pages: which are free, and which a clip gets. Runs on the host; the device has page tables."""

from collections.abc import Iterable

from musicgen_serving.engine.model.memory import NULL_PAGE


class OutOfPagesError(MemoryError):
    """Too few pages are free; some are returned when a clip in flight leaves."""

    def __init__(self, wanted: int, free: int) -> None:
        super().__init__(f"too few KV pages are free ({free}) for {wanted} more")


class PageAllocator:
    """Pages 1, 2, …, `pages` - 1, of which each is free or held by one clip. Page 0 is the null page."""

    def __init__(self, pages: int) -> None:
        self._is_free = [page != NULL_PAGE for page in range(pages)]
        self.free = pages - 1

    def allocate(self, count: int) -> list[int]:
        """Take `count` pages: adjacent ones if possible, which a CPU reads without copying; else the longest runs.

        Raises OutOfPagesError, and takes none, if fewer are free.
        """
        if count > self.free:
            raise OutOfPagesError(count, self.free)
        runs = adjacent_runs(page for page, free in enumerate(self._is_free) if free)
        whole = min((run for run in runs if len(run) >= count), key=len, default=None)  # keeps longer runs for others
        chosen = [whole] if whole else sorted(runs, key=len, reverse=True)
        pages = [page for run in chosen for page in run][:count]
        for page in pages:
            self._is_free[page] = False
        self.free -= count
        return pages

    def release(self, pages: Iterable[int]) -> None:
        """Return pages; raise ValueError for one that no clip holds."""
        for page in pages:
            if page == NULL_PAGE or self._is_free[page]:
                raise ValueError(f"a released page must be held by a clip, got page {page}")
            self._is_free[page] = True
            self.free += 1


def adjacent_runs(pages: Iterable[int]) -> list[range]:
    """Return the runs of adjacent numbers, in the order given: 4, 5, 6, 2 are 4 to 6 and 2."""
    runs: list[range] = []
    for page in pages:
        if runs and runs[-1].stop == page:
            runs[-1] = range(runs[-1].start, page + 1)
        else:
            runs.append(range(page, page + 1))
    return runs
