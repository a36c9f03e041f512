"""Traffic through the deployed policies, and what came of it."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from local_aws.autoscaling.controller import Minute
from local_aws.autoscaling.deployed import DeployedEndpoint
from local_aws.autoscaling.scaling import Scaling
from local_aws.autoscaling.simulator.endpoint import Assumptions
from local_aws.autoscaling.simulator.loads import Traffic, arrivals
from local_aws.autoscaling.simulator.run import Outcome, Work, simulate
from local_aws.planner.prices import Price

HOURS_PER_MONTH = 730.0
_LONGER_SECONDS = 900.0  # target tracking's fifteen datapoints
_BOUNDS = {"clip_seconds": (0.02, 300.0), "seconds_per_clip": (0.01, 3600.0), "startup_seconds": (0.0, 7200.0)}


@dataclass(frozen=True)
class Question:
    """What is asked: a pattern of traffic, and what a clip takes. Times in seconds.

    `seconds_per_clip`: work on one clip while as many are in progress as an instance takes at once; `startup_seconds`:
    from the wish for an instance to its first request.
    """

    pattern: str
    traffic: Traffic
    clip_seconds: float
    seconds_per_clip: float
    startup_seconds: float

    def __post_init__(self) -> None:
        for name, (low, high) in _BOUNDS.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise ValueError(f"{name} must be {low:g} to {high:g}, got {value:g}")


@dataclass(frozen=True)
class Plan:
    """The answer. Times in seconds; money in US dollars.

    `longer_usd`: a bound on the cost if AWS kept each instance fifteen minutes longer than its documented rules say.
    """

    completed: int
    unanswered: dict[str, int]
    p50: float
    p95: float
    longest: float
    instance_hours: float
    busy_share: float
    peak: int
    wakes: int
    usd: float
    longer_usd: float
    usd_per_clip: float
    usd_per_month: float
    back_at_zero: bool
    minutes: Sequence[Minute]


def make_plan(question: Question, scaling: Scaling, endpoint: DeployedEndpoint, price: Price) -> Plan:
    """Starts at no instance, as an endpoint stands that nobody has used for a while."""
    times = arrivals(question.pattern, question.traffic)
    outcome = simulate(
        scaling.without_bystanders(),
        [Work(at, question.seconds_per_clip) for at in times],
        Assumptions(startup=question.startup_seconds),
        concurrency=endpoint.concurrency,
        instances=scaling.target.clamp(0),
    )
    return _plan(outcome, question, endpoint, price, scaling.target.max_capacity)


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest of `values` that at least `share` of them do not exceed (nearest rank); NaN of none."""
    ordered = sorted(values)
    return ordered[max(math.ceil(share * len(ordered)), 1) - 1] if ordered else math.nan


def _plan(outcome: Outcome, question: Question, endpoint: DeployedEndpoint, price: Price, most: int) -> Plan:
    results = [request.time_to_result for request in outcome.requests if request.answers == ["Completed"]]
    answers = Counter(request.answers[0] if request.answers else "Unanswered" for request in outcome.requests)
    completed = answers.pop("Completed", 0)
    hours = outcome.instance_seconds / 3600
    usd = hours * price.usd_per_hour
    return Plan(
        completed=completed,
        unanswered=dict(answers),
        p50=percentile(results, 0.5),
        p95=percentile(results, 0.95),
        longest=max(results, default=math.nan),
        instance_hours=hours,
        busy_share=_busy_share(outcome, endpoint.concurrency),
        peak=max(minute.instances for minute in outcome.minutes),
        wakes=sum(1 for minute in outcome.minutes if minute.decision and minute.instances == 0 and minute.desired),
        usd=usd,
        longer_usd=_longer_hours(outcome, most) * price.usd_per_hour,
        usd_per_clip=usd / completed if completed else math.nan,
        usd_per_month=usd / question.traffic.hours * HOURS_PER_MONTH,
        back_at_zero=outcome.at_zero,
        minutes=outcome.minutes,
    )


def _longer_hours(outcome: Outcome, most: int) -> float:
    """Instance hours with fifteen minutes more for each instance, but no more than `most` instances all the time."""
    longer = outcome.instance_seconds + len(outcome.instances) * _LONGER_SECONDS
    return min(longer, most * (outcome.ended_at + _LONGER_SECONDS)) / 3600


def _busy_share(outcome: Outcome, concurrency: int) -> float:
    """Share of the paid time that requests used, all of an instance's places counted."""
    worked = sum(request.seconds for request in outcome.requests if request.answers == ["Completed"])
    return worked / (outcome.instance_seconds * concurrency) if outcome.instance_seconds else 0.0
