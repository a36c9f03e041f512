"""`python -m local_aws.planner`, which `make plan` runs."""

import argparse
import json
import sys
from pathlib import Path

from local_aws.autoscaling.rules.template import Template, read_endpoint, read_scaling
from local_aws.autoscaling.simulator.traffic import PATTERNS, Traffic
from local_aws.planner.costs import cost_rows, format_costs
from local_aws.planner.plan import (
    STARTUP_SECONDS,
    Scenario,
    estimate_work,
    format_full_instance,
    format_plan,
    load_price,
    make_plan,
    read_capacity,
    seconds_per_clip,
)
from local_aws.planner.timeline_chart import draw

TEMPLATE = Path("cdk.out/MusicGen-dev.template.json")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m local_aws.planner", description=__doc__)
    parser.add_argument("--rate", type=float, required=True, help="requests an hour, on average")
    parser.add_argument("--hours", type=float, default=24.0, help="how long the traffic lasts")
    parser.add_argument("--pattern", choices=list(PATTERNS), default="steady", help="how requests arrive")
    parser.add_argument("--clip-seconds", type=float, default=30.0, help="seconds of music per request")
    work = parser.add_mutually_exclusive_group()
    work.add_argument("--seconds-per-clip", type=float, help="work on one clip, at full concurrency")
    work.add_argument("--measured", type=Path, nargs="+", help="responses of an endpoint to derive it from")
    parser.add_argument(
        "--startup-seconds",
        type=float,
        default=STARTUP_SECONDS,
        help="from requesting an instance to its first request",
    )
    parser.add_argument("--template", type=Path, default=TEMPLATE, help="the synthesised template")
    parser.add_argument("--seed", type=int, default=0, help="seed of the arrivals")
    parser.add_argument(
        "--costs", action=argparse.BooleanOptionalAction, default=True, help="show the cost of 10 to 10,000 clips a day"
    )
    parser.add_argument("--plot", type=Path, help="write a .png or .svg chart of backlog and instances")
    return parser


def _plan(arguments: argparse.Namespace) -> None:
    if not arguments.template.is_file():
        raise ValueError(f"no template at {arguments.template}; run `make synth` first")
    template = Template(json.loads(arguments.template.read_text(encoding="utf-8")))
    scaling, endpoint = read_scaling(template), read_endpoint(template)
    capacity = None
    if arguments.measured:
        work = seconds_per_clip(arguments.measured, arguments.clip_seconds)
    elif arguments.seconds_per_clip is not None:
        work = arguments.seconds_per_clip
    else:
        capacity = read_capacity(template, endpoint)
        work = estimate_work(capacity, endpoint.concurrency, arguments.clip_seconds)
    traffic = Traffic(arguments.rate, arguments.hours, arguments.seed)
    scenario = Scenario(arguments.pattern, traffic, arguments.clip_seconds, work, arguments.startup_seconds)
    price = load_price(endpoint.instance_type)
    plan = make_plan(scenario, scaling, endpoint, price)
    print(format_plan(plan, scenario, scaling, endpoint, price))
    if capacity is not None:
        print(format_full_instance(capacity, endpoint, arguments.clip_seconds, price))
        print("estimated   the work, from bytes and half the nominal bandwidth; set --seconds-per-clip or --measured")
    if arguments.costs:
        print(f"\nby clips a day, {arguments.clip_seconds:g} s of music each, at random times around the clock:")
        print(format_costs(cost_rows(scaling, endpoint, price, scenario)))
    if arguments.plot:
        draw(plan.minutes, arguments.plot, f"{scenario.pattern}, {traffic.rate:g} requests an hour")
        print(f"plot        {arguments.plot}")


def main() -> int:
    """Print the plan and return 0, or print one sentence and return 2 for invalid input."""
    try:
        _plan(_parser().parse_args())
    except (ValueError, OSError) as error:
        print(f"planner: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
