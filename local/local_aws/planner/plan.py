"""Simulate traffic through the declared policies, and report times to a result and cost.

The work on a clip and its price on a full instance come from `infra.config.capacity`, for the model in the template.
"""

import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.config.capacity import MAX_CLIP_SECONDS, InstanceCapacity
from infra.config.models import find_model
from local_aws.autoscaling.rules.controller import Minute
from local_aws.autoscaling.rules.scaling_config import ScalingConfig
from local_aws.autoscaling.rules.template import DeclaredEndpoint, Template
from local_aws.autoscaling.simulator.simulated_endpoint import Assumptions
from local_aws.autoscaling.simulator.simulation import Arrival, simulate
from local_aws.autoscaling.simulator.traffic import Traffic, arrival_times

PRICES = Path(__file__).parents[3] / "infra" / "config" / "prices.json"
HOURS_PER_MONTH = 730.0
STARTUP_SECONDS = 360.0  # from requesting an instance to its first request, an assumption
FORMER_CONCURRENCY = 4  # the default before it followed from memory, to compare with
_MAX_RESPONSE_BYTES = 1_000_000  # a response of sixteen clips has a few thousand
_LONGER_SECONDS = 900.0  # the fifteen datapoints of target tracking
_BOUNDS = {"clip_seconds": (0.02, 300.0), "seconds_per_clip": (0.01, 3600.0), "startup_seconds": (0.0, 7200.0)}


@dataclass(frozen=True)
class Price:
    """US dollars for an hour of one instance, with the region and date of the price."""

    usd_per_hour: float
    region: str
    as_of: str


@dataclass(frozen=True)
class Scenario:
    """Traffic, and the work on a clip. Times in seconds.

    `seconds_per_clip`: work on one clip while the instance runs at full concurrency; `startup_seconds`: from requesting
    an instance to its first request.
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
    """The result. Times in seconds; cost in US dollars.

    `busy_share`: share of the billed capacity that requests used, with all concurrent slots counted; `longer_usd`: an
    upper bound on the cost if AWS kept each instance fifteen minutes longer than its documented rules say.
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


def load_price(instance_type: str, path: Path = PRICES) -> Price:
    """Return the price of `instance_type` from the project's price file. Raise ValueError if it has none."""
    prices: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    known: dict[str, float] = prices["usd_per_hour"]
    if instance_type not in known:
        raise ValueError(f"instance type must be one of {', '.join(known)} ({path.name}), got {instance_type}")
    return Price(known[instance_type], prices["region"], prices["as_of"])


def read_capacity(template: Template, endpoint: DeclaredEndpoint) -> InstanceCapacity:
    """Return what an instance of the template holds of its model. Raise ValueError if it does not say which."""
    staged, models = template.of_type("Custom::StagedModel"), template.of_type("AWS::SageMaker::Model")
    try:
        [(_, model)], [(_, served)] = staged, models
        variables = served["PrimaryContainer"]["Environment"]
        return InstanceCapacity(
            model=find_model(model["ModelId"], model.get("Custom", {}).get("Like", "")),
            instance_type=endpoint.instance_type,
            decoder_dtype=variables["MUSICGEN_DECODER_DTYPE"],
            weight_quantisation=variables["MUSICGEN_WEIGHT_QUANTISATION"],
        )
    except (KeyError, ValueError) as error:
        raise ValueError(f"the template must name one served model, got {error!r}; set --seconds-per-clip") from error


def estimate_work(capacity: InstanceCapacity, concurrency: int, clip_seconds: float) -> float:
    """Return the expected seconds for a clip with `concurrency` requested at once. Raise ValueError above 30 s."""
    if not 0 < clip_seconds <= MAX_CLIP_SECONDS:
        raise ValueError(
            f"clip_seconds must be more than 0 and at most {MAX_CLIP_SECONDS} to estimate the work, "
            f"got {clip_seconds:g}; set --seconds-per-clip"
        )
    return capacity.clip_seconds(clips=concurrency, seconds=clip_seconds)


def format_full_instance(
    capacity: InstanceCapacity, endpoint: DeclaredEndpoint, clip_seconds: float, price: Price
) -> str:
    """Return one line: the expected price of a clip on an instance that is always full, now and with four at once."""

    def shown(clips: int) -> str:
        seconds = estimate_work(capacity, clips, clip_seconds)
        return f"${price.usd_per_hour / 3600 * seconds / clips:.5f} a clip with {clips} at once ({seconds:.3g} s)"

    return f"full        {shown(endpoint.concurrency)}, {shown(FORMER_CONCURRENCY)}: one instance, always full"


def make_plan(scenario: Scenario, scaling: ScalingConfig, endpoint: DeclaredEndpoint, price: Price) -> Plan:
    """Simulate the scenario from the minimum capacity, as on an endpoint that has been idle for a while."""
    result = simulate(
        scaling.with_scaling_alarms_only(),
        [Arrival(at, scenario.seconds_per_clip) for at in arrival_times(scenario.pattern, scenario.traffic)],
        Assumptions(startup=scenario.startup_seconds),
        concurrency=endpoint.concurrency,
        instances=scaling.target.clamp(0),
    )
    completed = [request for request in result.requests if request.outcomes == ["Completed"]]
    times = [request.time_to_result for request in completed]
    outcomes = Counter(request.outcomes[0] if request.outcomes else "Unanswered" for request in result.requests)
    outcomes.pop("Completed", None)
    seconds = result.instance_seconds
    slots = seconds * endpoint.concurrency
    usd = seconds / 3600 * price.usd_per_hour
    # Fifteen minutes more for each instance, but at most the maximum capacity all the time.
    longer = min(
        seconds + len(result.instances) * _LONGER_SECONDS,
        scaling.target.max_capacity * (result.ended_at + _LONGER_SECONDS),
    )
    return Plan(
        completed=len(completed),
        unanswered=dict(outcomes),
        p50=percentile(times, 0.5),
        p95=percentile(times, 0.95),
        longest=max(times, default=math.nan),
        instance_hours=seconds / 3600,
        busy_share=sum(request.seconds for request in completed) / slots if slots else 0.0,
        peak=max(minute.instances for minute in result.minutes),
        wakes=sum(1 for minute in result.minutes if minute.decision and minute.instances == 0 and minute.desired),
        usd=usd,
        longer_usd=longer / 3600 * price.usd_per_hour,
        usd_per_clip=usd / len(completed) if completed else math.nan,
        usd_per_month=usd / scenario.traffic.hours * HOURS_PER_MONTH,
        back_at_zero=result.at_zero,
        minutes=result.minutes,
    )


def percentile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that at least `share` of them do not exceed (nearest rank); NaN for no values."""
    ordered = sorted(values)
    return ordered[max(math.ceil(share * len(ordered)), 1) - 1] if ordered else math.nan


def format_plan(
    plan: Plan, scenario: Scenario, scaling: ScalingConfig, endpoint: DeclaredEndpoint, price: Price
) -> str:
    """Return the scenario and its result as lines of text."""
    traffic, requests = scenario.traffic, plan.completed + sum(plan.unanswered.values())
    lines = [
        f"requests    {requests}: {scenario.pattern}, {traffic.rate:g} an hour for {traffic.hours:g} h",
        f"clip        {scenario.clip_seconds:g} s of music, {scenario.seconds_per_clip:.4g} s of work",
        f"endpoint    {scaling.target.min_capacity} to {scaling.target.max_capacity} x {endpoint.instance_type}, "
        f"{endpoint.concurrency} requests at once on each, {scenario.startup_seconds:g} s to start",
        f"result in   p50 {_duration(plan.p50)}   p95 {_duration(plan.p95)}   longest {_duration(plan.longest)}",
        f"instances   {plan.instance_hours:.2f} hours billed, {plan.busy_share:.0%} used, peak {plan.peak}, "
        f"{plan.wakes} wake-ups from zero",
        f"cost        ${plan.usd:.2f}: ${plan.usd_per_clip:.4f} a clip, ${plan.usd_per_month:,.0f} a month of this",
        f"            ${plan.longer_usd:.2f} at most, if AWS keeps each instance 15 minutes longer than its rules say",
        f"price       ${price.usd_per_hour:g} an hour, {price.region}, as of {price.as_of}; storage is extra",
    ]
    if plan.unanswered:
        lines.append("no result   " + ", ".join(f"{count} {why}" for why, count in sorted(plan.unanswered.items())))
    if not plan.back_at_zero:
        lines.append("at the end  the endpoint did not return to zero: these policies keep costing money")
    return "\n".join(lines)


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 600 else f"{seconds / 60:.1f} min"


def seconds_per_clip(paths: Sequence[Path], clip_seconds: float) -> float:
    """Return the work on a clip of `clip_seconds`, in proportion to the work and music of a real endpoint's responses.

    `paths` are `.out` objects (docs/contracts.md). A response counts as a whole, since its clips are generated
    together. Raise ValueError for other files.
    """
    work, music = 0.0, 0.0
    for path in paths:
        if path.stat().st_size > _MAX_RESPONSE_BYTES:
            raise ValueError(f"{path} must have at most {_MAX_RESPONSE_BYTES:,} bytes, got {path.stat().st_size:,}")
        response: Any = json.loads(path.read_text(encoding="utf-8"))
        try:
            work += sum(float(response["timings"][name]) for name in ("generate_seconds", "upload_seconds"))
            music += sum(float(duration) for duration in response["durations"])
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path} must hold a response with timings and durations, got {error!r}") from error
    if not (work > 0 and music > 0):
        raise ValueError(f"measured responses must hold some work and some music, got {work:g} s and {music:g} s")
    return work / music * clip_seconds
