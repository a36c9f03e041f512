"""Which shapes steps are recorded for: few enough to record at start-up, close enough that little is done in vain."""

from collections.abc import Iterable
from dataclasses import dataclass

SHORTEST = 256  # positions: five seconds, of which a step reads little beside the weights


@dataclass(frozen=True, order=True)
class Bucket:
    """A step over the first `slots` slots, whose attention sees positions below `length`."""

    slots: int
    length: int


def buckets(slots: int, positions: int) -> tuple[Bucket, ...]:
    """Every pair of a number of slots and a length, in ascending order: 6 times 4 for 32 slots of 30 seconds.

    Both double from step to step, so at most half of a bucket is in vain; and what has no clip, or lies beyond a
    clip's position, kernels that read lengths on the device pass by.
    """
    return tuple(Bucket(n, length) for n in doublings(1, slots) for length in doublings(SHORTEST, positions))


def doublings(first: int, last: int) -> tuple[int, ...]:
    """`first` and its doubles below `last`, and `last`."""
    sizes: list[int] = []
    while first < last:
        sizes.append(first)
        first *= 2
    return (*sizes, last)


def smallest(known: Iterable[Bucket], count: int, length: int) -> Bucket:
    """The smallest bucket that holds `count` slots at positions below `length`; ValueError where none does."""
    holding = [bucket for bucket in known if bucket.slots >= count and bucket.length >= length]
    if not holding:
        raise ValueError(f"a step must fit a bucket, got {count} slots at positions below {length}")
    return min(holding)
