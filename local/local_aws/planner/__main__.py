"""`python -m local_aws.planner`: what `make plan` runs."""

import argparse
import json
import sys
from pathlib import Path

from local_aws.autoscaling.deployed import read_endpoint, read_scaling
from local_aws.autoscaling.simulator.loads import PATTERNS, Traffic
from local_aws.autoscaling.template import Template
from local_aws.planner.measured import seconds_per_clip
from local_aws.planner.plan import Question, make_plan
from local_aws.planner.prices import price_of
from local_aws.planner.report import written
from local_aws.planner.timeline import draw

TEMPLATE = Path("cdk.out/MusicGen-dev.template.json")
WORK_PER_SECOND = 1.5  # assumed where nothing was measured: seconds of work for a second of music


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m local_aws.planner", description=__doc__)
    parser.add_argument("--rate", type=float, required=True, help="requests an hour, on average")
    parser.add_argument("--hours", type=float, default=24.0, help="how long the traffic lasts")
    parser.add_argument("--pattern", choices=list(PATTERNS), default="steady", help="how requests arrive")
    parser.add_argument("--clip-seconds", type=float, default=30.0, help="music that one request asks for")
    work = parser.add_mutually_exclusive_group()
    work.add_argument("--seconds-per-clip", type=float, help="work on one clip, at full concurrency")
    work.add_argument("--measured", type=Path, nargs="+", help="responses of an endpoint to take it from")
    parser.add_argument(
        "--startup-seconds", type=float, default=360.0, help="from the wish for an instance to its work"
    )
    parser.add_argument("--template", type=Path, default=TEMPLATE, help="the synthesised template")
    parser.add_argument("--seed", type=int, default=0, help="of the arrivals")
    parser.add_argument("--plot", type=Path, help="a .png or .svg file to draw backlog and instances into")
    return parser


def _question(arguments: argparse.Namespace) -> Question:
    if arguments.measured:
        work = seconds_per_clip(arguments.measured, arguments.clip_seconds)
    else:
        work = arguments.seconds_per_clip or WORK_PER_SECOND * arguments.clip_seconds
    return Question(
        pattern=arguments.pattern,
        traffic=Traffic(arguments.rate, arguments.hours, arguments.seed),
        clip_seconds=arguments.clip_seconds,
        seconds_per_clip=work,
        startup_seconds=arguments.startup_seconds,
    )


def _answer(arguments: argparse.Namespace) -> None:
    if not arguments.template.is_file():
        raise ValueError(f"template must be a file, which `make synth` writes, got {arguments.template}")
    template = Template(json.loads(arguments.template.read_text(encoding="utf-8")))
    scaling, endpoint, question = read_scaling(template), read_endpoint(template), _question(arguments)
    price = price_of(endpoint.instance_type)
    plan = make_plan(question, scaling, endpoint, price)
    print(written(plan, question, scaling, endpoint, price))
    if not (arguments.measured or arguments.seconds_per_clip):
        print(f"assumed     {WORK_PER_SECOND:g} s of work for a second of music; give --seconds-per-clip or --measured")
    if arguments.plot:
        title = f"{question.pattern}, {question.traffic.rate:g} requests an hour"
        draw(plan.minutes, arguments.plot, title)
        print(f"plot        {arguments.plot}")


def main() -> int:
    """Prints the plan: 0, or 2 with one sentence for a question that has no answer."""
    arguments = _parser().parse_args()
    try:
        _answer(arguments)
    except (ValueError, OSError) as error:
        print(f"planner: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
