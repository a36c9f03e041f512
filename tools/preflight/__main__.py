"""Check what the configured stack needs of the AWS account, without changing or starting anything.

Reads cdk.json and the same -c options as `cdk deploy`. Exit code 0: no check failed; 1: one did; 2: wrong usage.
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import boto3
from botocore.exceptions import BotoCoreError

from infra.config import ConfigError, from_context
from preflight.checks import (
    DEFAULT_QUALIFIER,
    Target,
    check_bootstrap,
    check_credentials,
    check_deployed_endpoint,
    check_images,
    check_quotas,
    check_region,
    works,
)
from preflight.cost import cost_lines
from preflight.network import check_network
from preflight.report import Check, as_json, as_table, exit_code, run, unknown
from preflight.weights import check_secret, check_weights

_PROJECT = Path(__file__).resolve().parents[2]
_AWS_CHECKS = {
    "region": check_region,
    "CDK bootstrap": check_bootstrap,
    "quota": check_quotas,
    "container image": check_images,
    "token secret": check_secret,
    "private network": check_network,
    "deployed endpoint": check_deployed_endpoint,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run all checks with the credentials of the environment or of --profile, and print the table."""
    options = _parser().parse_args(arguments)
    try:
        target = make_target(dict(options.context), options.profile)
    except (ConfigError, BotoCoreError, OSError, json.JSONDecodeError) as error:
        print(f"configuration: {error}", file=sys.stderr)
        return 2
    checks, cost = check_everything(target), cost_lines(target.config)
    if options.json:
        print(json.dumps(as_json(checks, cost), indent=2, ensure_ascii=False))
    else:
        print(as_table(checks, cost))
    return exit_code(checks)


def make_target(overrides: dict[str, str], profile: str | None = None, session: Any = None) -> Target:
    """Return the configuration of cdk.json with `overrides`, and a session. Raises ConfigError."""
    session = session or boto3.Session(profile_name=profile)
    # Where the CDK CLI looks for it, in the same order.
    region = os.environ.get("AWS_REGION") or os.environ.get("AMAZON_REGION") or session.region_name
    context = cast(dict[str, Any], json.loads((_PROJECT / "cdk.json").read_text(encoding="utf-8")).get("context", {}))
    config = from_context({**context, **overrides}, default_region=region)
    own = {name: value for name, value in overrides.items() if name not in ("instance_type", "fallback_instance_types")}
    return Target(
        config=config,
        session=session,
        overrides=overrides,
        environment_types=from_context({**context, **own}, default_region=region).instance_types,
        qualifier={**context, **overrides}.get("@aws-cdk/core:bootstrapQualifier", DEFAULT_QUALIFIER),
    )


def check_everything(target: Target) -> list[Check]:
    """Return all rows. Without working credentials, check only the Hub."""
    rows = run("credentials", lambda: check_credentials(target))
    if works(rows):
        for name, check in _AWS_CHECKS.items():
            rows += run(name, lambda check=check: check(target))
    else:
        rows += [unknown(name, "it needs working credentials") for name in _AWS_CHECKS]
    if works(rows[:1]) or not target.config.s3_mirror:
        return rows + run("weights", lambda: check_weights(target))
    return [*rows, unknown("weights", "it needs working credentials")]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m preflight", description=__doc__)
    parser.add_argument(
        "-c", "--context", action="append", default=[], type=_setting, metavar="NAME=VALUE",
        help="a setting, as for cdk deploy: -c env=prod -c max_capacity=4",
    )  # fmt: skip
    parser.add_argument("--profile", help="the AWS profile; default: that of the environment")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    return parser


def _setting(text: str) -> tuple[str, str]:
    name, found, value = text.partition("=")
    if not found or not name:
        raise argparse.ArgumentTypeError(f"must be NAME=VALUE, got {text!r}")
    return name, value


if __name__ == "__main__":
    sys.exit(main())
