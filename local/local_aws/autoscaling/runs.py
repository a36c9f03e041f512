"""Runs of a declared endpoint in virtual time, and what must come of each."""

from local_aws.autoscaling.deployed import DeployedEndpoint
from local_aws.autoscaling.scaling import Scaling
from local_aws.autoscaling.simulator.endpoint import Assumptions
from local_aws.autoscaling.simulator.loads import HOUR, PATTERNS, Traffic, arrivals
from local_aws.autoscaling.simulator.run import Outcome, Work, simulate

_ASSUMPTIONS = Assumptions(startup=300.0)
_REQUEST_SECONDS = 60.0
_WAKE_SECONDS = 300.0  # from a request to the wish for an instance: two datapoints, and what evaluating them takes
_IDLE_MINUTES = 20  # fifteen datapoints, and what evaluating them takes
_TRAFFIC = {"single": Traffic(1, 1), "burst": Traffic(200, 1), "trickle": Traffic(2, 4)}

Finding = str | None


def run_pattern(scaling: Scaling, endpoint: DeployedEndpoint, pattern: str, *, seed: int = 0) -> Outcome:
    """One of the load patterns, an hour after the endpoint was deployed with its initial instances."""
    base = _TRAFFIC.get(pattern, Traffic(60, 4))
    times = arrivals(pattern, Traffic(base.rate, base.hours, seed))
    work = [Work(HOUR + at, _REQUEST_SECONDS) for at in times]
    return _simulate(scaling, endpoint, work, instances=endpoint.initial_instances)


def reaches_zero(scaling: Scaling, endpoint: DeployedEndpoint) -> Finding:
    """After a deployment, and without a request, the instances go."""
    outcome = _simulate(scaling, endpoint, [], instances=endpoint.initial_instances)
    if not outcome.at_zero:
        return f"an idle endpoint must reach 0 instances, got {outcome.minutes[-1].instances}: {_alarms(outcome)}"
    minutes = outcome.ended_at / 60
    return None if minutes <= _IDLE_MINUTES else f"it must take at most {_IDLE_MINUTES} minutes, got {minutes:.0f}"


def wakes(scaling: Scaling, endpoint: DeployedEndpoint) -> Finding:
    """From zero, one request brings an instance."""
    outcome = _simulate(scaling, endpoint, [Work(HOUR, _REQUEST_SECONDS)], instances=0)
    if outcome.requests[0].answers != ["Completed"]:
        return f"a request at 0 instances must be answered, got {outcome.requests[0].answers}: {_alarms(outcome)}"
    allowed = _WAKE_SECONDS + _ASSUMPTIONS.startup + _REQUEST_SECONDS
    taken = outcome.requests[0].time_to_result
    return None if taken <= allowed else f"it must be answered within {allowed:g} s, got {taken:.0f} s"


def scales_out(scaling: Scaling, endpoint: DeployedEndpoint) -> Finding:
    """A burst brings a second instance, where two are allowed."""
    outcome = run_pattern(scaling, endpoint, "burst")
    peak, wanted = max(minute.instances for minute in outcome.minutes), min(scaling.target.max_capacity, 2)
    return None if peak >= wanted else f"a burst of {len(outcome.requests)} must bring {wanted} instances, got {peak}"


def answers_all(scaling: Scaling, endpoint: DeployedEndpoint) -> Finding:
    """Under every pattern each request is answered once, and with a result."""
    for pattern in PATTERNS:
        outcome = run_pattern(scaling, endpoint, pattern)
        wrong = [request.answers for request in outcome.requests if request.answers != ["Completed"]]
        if wrong:
            return f"{pattern}: each request must be answered once, got {wrong[0]} for {len(wrong)}"
    return None


def returns_to_zero(scaling: Scaling, endpoint: DeployedEndpoint) -> Finding:
    """After every pattern no instance is left."""
    for pattern in PATTERNS:
        outcome = run_pattern(scaling, endpoint, pattern)
        if not outcome.at_zero:
            return f"{pattern}: no instance must be left, got {outcome.minutes[-1].instances}: {_alarms(outcome)}"
    return None


def _simulate(scaling: Scaling, endpoint: DeployedEndpoint, work: list[Work], *, instances: int) -> Outcome:
    return simulate(
        scaling.without_bystanders().without_schedule(),
        work,
        _ASSUMPTIONS,
        concurrency=endpoint.concurrency,
        instances=instances,
    )


def _alarms(outcome: Outcome) -> str:
    states = outcome.minutes[-1].alarms
    return ", ".join(f"{name} {state}" for name, state in states.items())
