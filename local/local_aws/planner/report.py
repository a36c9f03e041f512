"""A plan in words."""

from local_aws.autoscaling.deployed import DeployedEndpoint
from local_aws.autoscaling.scaling import Scaling
from local_aws.planner.plan import Plan, Question
from local_aws.planner.prices import Price


def written(plan: Plan, question: Question, scaling: Scaling, endpoint: DeployedEndpoint, price: Price) -> str:
    """Several lines: the question, and what the policies make of it."""
    traffic = question.traffic
    lines = [
        f"requests    {_requests(plan)}: {question.pattern}, {traffic.rate:g} an hour for {traffic.hours:g} h",
        f"clip        {question.clip_seconds:g} s of music, {question.seconds_per_clip:.4g} s of work",
        f"endpoint    {scaling.target.min_capacity} to {scaling.target.max_capacity} x {endpoint.instance_type}, "
        f"{endpoint.concurrency} requests at once on each, {question.startup_seconds:g} s to start",
        f"result in   p50 {_seconds(plan.p50)}   p95 {_seconds(plan.p95)}   longest {_seconds(plan.longest)}",
        f"instances   {plan.instance_hours:.2f} hours paid, {plan.busy_share:.0%} of them used, {plan.peak} at once, "
        f"{plan.wakes} times woken from zero",
        f"cost        ${plan.usd:.2f}: ${plan.usd_per_clip:.4f} a clip, ${plan.usd_per_month:,.0f} a month of this",
        f"            ${plan.longer_usd:.2f} at most, if AWS keeps each instance 15 minutes longer than its rules say",
        f"price       ${price.usd_per_hour:g} an hour, {price.region}, as of {price.as_of}; storage is extra",
    ]
    if plan.unanswered:
        lines.append("no result   " + ", ".join(f"{count} {why}" for why, count in sorted(plan.unanswered.items())))
    if not plan.back_at_zero:
        lines.append("at the end  the endpoint did not return to zero: these policies keep paying")
    return "\n".join(lines)


def _requests(plan: Plan) -> int:
    return plan.completed + sum(plan.unanswered.values())


def _seconds(value: float) -> str:
    return f"{value:.0f} s" if value < 600 else f"{value / 60:.1f} min"
