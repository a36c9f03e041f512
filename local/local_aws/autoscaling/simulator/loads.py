"""Load patterns: when requests arrive."""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass

HOUR = 3600.0
_BURST_SECONDS = 30.0  # in which a burst's requests are sent
_TOOTH_HOURS = 2.0  # from one sharp fall of the sawtooth to the next
_MOST_REQUESTS = 1_000_000


@dataclass(frozen=True)
class Traffic:
    """`rate` requests an hour for `hours`, on average; `seed` decides the rest."""

    rate: float
    hours: float
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.rate * self.hours <= _MOST_REQUESTS:
            raise ValueError(
                f"rate x hours must be more than 0 and at most {_MOST_REQUESTS:,} requests, "
                f"got {self.rate:g} x {self.hours:g}"
            )

    @property
    def count(self) -> int:
        """Requests in all, one at least."""
        return max(1, round(self.rate * self.hours))


def _single(traffic: Traffic, draw: random.Random) -> list[float]:
    """One request, whatever the rate."""
    return [draw.uniform(0, HOUR)]


def _burst(traffic: Traffic, draw: random.Random) -> list[float]:
    """All at once."""
    return [draw.uniform(0, _BURST_SECONDS) for _ in range(traffic.count)]


def _steady(traffic: Traffic, draw: random.Random) -> list[float]:
    """A Poisson process: as of many people who know nothing of one another."""
    return _thinned(traffic, draw, lambda _hour: 1.0)


def _sawtooth(traffic: Traffic, draw: random.Random) -> list[float]:
    """A Poisson process whose rate climbs from nothing to twice the mean in two hours, falls, and climbs again."""
    return _thinned(traffic, draw, lambda hour: 2 * (hour % _TOOTH_HOURS) / _TOOTH_HOURS)


def _trickle(traffic: Traffic, draw: random.Random) -> list[float]:
    """One by one, with gaps of half to one and a half times the mean."""
    gap, arrivals, now = HOUR / traffic.rate, list[float](), 0.0
    while (now := now + gap * draw.uniform(0.5, 1.5)) < traffic.hours * HOUR:
        arrivals.append(now)
    return arrivals or [now]


def _thinned(traffic: Traffic, draw: random.Random, shape: Callable[[float], float]) -> list[float]:
    """A Poisson process of rate `traffic.rate * shape(hour)`, shape at most 2 (Lewis and Shedler's thinning)."""
    peak, now, arrivals = 2 * traffic.rate / HOUR, 0.0, list[float]()
    while (now := now + draw.expovariate(peak)) < traffic.hours * HOUR:
        if draw.random() < shape(now / HOUR) / 2:
            arrivals.append(now)
    return arrivals or [traffic.hours * HOUR * draw.random()]


PATTERNS: Mapping[str, Callable[[Traffic, random.Random], list[float]]] = {
    "single": _single,
    "burst": _burst,
    "steady": _steady,
    "sawtooth": _sawtooth,
    "trickle": _trickle,
}


def arrivals(pattern: str, traffic: Traffic) -> list[float]:
    """Seconds at which requests arrive, in order: at least one."""
    if pattern not in PATTERNS:
        raise ValueError(f"pattern must be one of {', '.join(PATTERNS)}, got {pattern}")
    return sorted(PATTERNS[pattern](traffic, random.Random(traffic.seed)))
