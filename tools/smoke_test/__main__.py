# boto3-stubs know only the services that the project installs them for
# pyright: reportUnknownMemberType=false
"""Command line: `python -m smoke_test --stack MusicGen-dev`. Exit code 0: the stack makes music; 1: it does not."""

import argparse
import sys
from collections.abc import Sequence

import boto3

from smoke_test.audio import NotMusic
from smoke_test.request import Failed, make_music, stack_outputs


def main(arguments: Sequence[str] | None = None) -> int:
    """Ask for music with the credentials of the environment."""
    options = _parser().parse_args(arguments)
    session = boto3.Session(region_name=options.region)
    try:
        outputs = stack_outputs(session.client("cloudformation"), options.stack)
        runtime, s3 = session.client("sagemaker-runtime"), session.client("s3")
        length = make_music(runtime, s3, outputs, patience_seconds=60 * options.minutes)
    except (Failed, NotMusic) as error:
        print(f"{options.stack} makes no music: {error}", file=sys.stderr)
        return 1
    print(f"{options.stack} made {length:.2f} s of music")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m smoke_test", description=__doc__)
    parser.add_argument("--stack", required=True, help="the deployed stack's name, for example MusicGen-dev")
    parser.add_argument("--region", help="its region; default: that of the AWS profile or environment")
    parser.add_argument("--minutes", type=float, default=30, help="how long to wait for the answer (30)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
