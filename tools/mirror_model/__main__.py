# boto3-stubs know only the services that the project installs them for
# pyright: reportUnknownMemberType=false
"""Command line: `python -m mirror_model --model-id facebook/musicgen-small --revision <commit> --to s3://bucket/prefix`.

The token for a gated model is read from HF_TOKEN. Exit code 0: the mirror is complete; 1: it is not.
"""

import argparse
import os
import re
import sys
from collections.abc import Sequence
from contextlib import closing

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from mirror_model.copying import Destination, copy_commit
from stage_model.errors import OutOfTimeError, StagingError
from stage_model.http import Connections
from stage_model.retry import RetryBudget, SystemClock
from stage_model.source.hub import HubRepository
from stage_model.source.s3_mirror import mirror_prefix

_MAX_HOURS = 12
_ADDRESS = re.compile(r"s3://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])((?:/[\w.-]+)*)")


def main(arguments: Sequence[str] | None = None) -> int:
    """Copy a commit, with the AWS credentials of the environment."""
    options = _parser().parse_args(arguments)
    bucket, prefix = options.to
    clock = SystemClock()
    budget = RetryBudget(clock, clock.now() + 3600 * _MAX_HOURS)
    with closing(Connections()) as connections:
        repository = HubRepository(
            options.hub, options.model_id, options.revision, connections, budget, os.environ.get("HF_TOKEN")
        )
        destination = Destination(bucket, mirror_prefix(prefix, options.model_id, options.revision))
        try:
            copy_commit(repository, boto3.client("s3", region_name=options.region), destination, print)
        except (StagingError, OutOfTimeError, ClientError, BotoCoreError) as error:
            print(f"the mirror is incomplete: {error}", file=sys.stderr)
            return 1
    print(f"deploy with -c hub_endpoint=s3://{bucket}{prefix} -c revision={options.revision}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m mirror_model", description=__doc__)
    parser.add_argument("--model-id", required=True, help="the model on the Hub, for example facebook/musicgen-small")
    parser.add_argument("--revision", required=True, type=_commit, help="the commit, 40 hexadecimal digits")
    parser.add_argument("--to", required=True, type=_address, help="s3://<bucket>/<prefix> of the mirror")
    parser.add_argument("--hub", default="https://huggingface.co", help="the Hub, or a mirror with the same API")
    parser.add_argument("--region", help="the bucket's region; default: that of the AWS profile or environment")
    return parser


def _commit(text: str) -> str:
    if not re.fullmatch(r"[0-9a-f]{40}", text):
        raise argparse.ArgumentTypeError(f"must be 40 hexadecimal digits, got {text!r}")
    return text


def _address(text: str) -> tuple[str, str]:
    found = _ADDRESS.fullmatch(text)
    if not found:
        raise argparse.ArgumentTypeError(f"must be s3://<bucket>/<prefix> without a final slash, got {text!r}")
    return found[1], found[2]


if __name__ == "__main__":
    sys.exit(main())
