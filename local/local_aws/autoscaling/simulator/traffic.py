"""Traffic patterns: when requests arrive."""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass

HOUR = 3600.0
_BURST_SECONDS = 30.0
_SAWTOOTH_HOURS = 2.0
_MAX_REQUESTS = 1_000_000


@dataclass(frozen=True)
class Traffic:
    """`rate` requests an hour on average, for `hours`; `seed` seeds the random arrivals."""

    rate: float
    hours: float
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.rate * self.hours <= _MAX_REQUESTS:
            raise ValueError(
                f"rate x hours must be more than 0 and at most {_MAX_REQUESTS:,} requests, "
                f"got {self.rate:g} x {self.hours:g}"
            )


def _single(traffic: Traffic, rng: random.Random) -> list[float]:
    """One request, whatever the rate."""
    return [rng.uniform(0, HOUR)]


def _burst(traffic: Traffic, rng: random.Random) -> list[float]:
    """All requests within half a minute, at least one."""
    return [rng.uniform(0, _BURST_SECONDS) for _ in range(max(1, round(traffic.rate * traffic.hours)))]


def _steady(traffic: Traffic, rng: random.Random) -> list[float]:
    """A Poisson process: many independent clients."""
    return _poisson(traffic, rng, lambda _hour: 1.0)


def _sawtooth(traffic: Traffic, rng: random.Random) -> list[float]:
    """A Poisson process whose rate rises from zero to twice the mean over two hours, then drops and rises again."""
    return _poisson(traffic, rng, lambda hour: 2 * (hour % _SAWTOOTH_HOURS) / _SAWTOOTH_HOURS)


def _trickle(traffic: Traffic, rng: random.Random) -> list[float]:
    """One at a time, with gaps of half to one and a half times the mean."""
    gap, times, now = HOUR / traffic.rate, list[float](), 0.0
    while (now := now + gap * rng.uniform(0.5, 1.5)) < traffic.hours * HOUR:
        times.append(now)
    return times or [now]


def _poisson(traffic: Traffic, rng: random.Random, shape: Callable[[float], float]) -> list[float]:
    """A Poisson process of rate `traffic.rate * shape(hour)`, shape at most 2 (Lewis and Shedler's thinning)."""
    peak, now, times = 2 * traffic.rate / HOUR, 0.0, list[float]()
    while (now := now + rng.expovariate(peak)) < traffic.hours * HOUR:
        if rng.random() < shape(now / HOUR) / 2:
            times.append(now)
    return times or [traffic.hours * HOUR * rng.random()]


PATTERNS: Mapping[str, Callable[[Traffic, random.Random], list[float]]] = {
    "single": _single,
    "burst": _burst,
    "steady": _steady,
    "sawtooth": _sawtooth,
    "trickle": _trickle,
}


def arrival_times(pattern: str, traffic: Traffic) -> list[float]:
    """Return the seconds at which requests arrive, sorted; at least one."""
    if pattern not in PATTERNS:
        raise ValueError(f"pattern must be one of {', '.join(PATTERNS)}, got {pattern}")
    return sorted(PATTERNS[pattern](traffic, random.Random(traffic.seed)))
