"""Test the page allocator: adjacent pages where possible, every page held by at most one clip, none lost."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from musicgen_serving.engine.step.page_allocator import OutOfPagesError, PageAllocator, adjacent_runs


def fragmented(pages: int, free: set[int]) -> PageAllocator:
    """Return an allocator of which only these pages are free."""
    allocator = PageAllocator(pages)
    allocator.release(set(allocator.allocate(pages - 1)) & free)
    return allocator


def test_takes_the_shortest_run_of_adjacent_pages_that_is_long_enough() -> None:
    allocator = fragmented(20, {1, 2, 3, 4, 5, 8, 9, 10, 15})
    assert allocator.allocate(3) == [8, 9, 10]
    assert allocator.allocate(1) == [15]
    assert allocator.allocate(3) == [1, 2, 3]


def test_joins_the_longest_runs_if_none_is_long_enough() -> None:
    assert fragmented(20, {1, 4, 5, 6, 9, 10, 19}).allocate(6) == [4, 5, 6, 9, 10, 1]


def test_takes_nothing_if_too_few_pages_are_free() -> None:
    allocator = PageAllocator(5)
    with pytest.raises(OutOfPagesError, match=r"too few KV pages are free \(4\) for 5 more"):
        allocator.allocate(5)
    assert allocator.free == 4 and sorted(allocator.allocate(4)) == [1, 2, 3, 4]


def test_the_null_page_and_free_pages_cannot_be_released() -> None:
    allocator = PageAllocator(5)
    pages = allocator.allocate(2)
    allocator.release(pages)
    for page in (0, pages[0]):
        with pytest.raises(ValueError, match=f"must be held by a clip, got page {page}"):
            allocator.release([page])


@given(st.lists(st.integers(1, 9) | st.tuples(st.integers(0, 50)), max_size=60), st.integers(2, 30))
def test_no_page_is_lost_or_held_twice_in_any_history(history: list[int | tuple[int]], pages: int) -> None:
    """A number allocates as many pages, a tuple releases one of the clips in flight."""
    allocator, clips = PageAllocator(pages), list[list[int]]()
    for event in history:
        if isinstance(event, tuple):
            if clips:
                allocator.release(clips.pop(event[0] % len(clips)))
        elif event <= allocator.free:
            clips.append(allocator.allocate(event))
            assert len(clips[-1]) == event
        else:
            with pytest.raises(OutOfPagesError):
                allocator.allocate(event)
        held = [page for clip in clips for page in clip]
        assert len(held) == len(set(held)) and set(held) <= set(range(1, pages))
        assert allocator.free + len(held) == pages - 1
    for clip in clips:
        allocator.release(clip)
    assert len(adjacent_runs(allocator.allocate(pages - 1))) == 1  # nothing stays fragmented
