# boto3-stubs know only the services that the project installs them for
# pyright: reportUnknownMemberType=false
"""Check that a deployed stack generates music: `python -m smoke_test --stack MusicGen-dev`. Exits with 1 if not."""

import argparse
import sys
from collections.abc import Sequence

import boto3

from smoke_test.endpoint import SmokeTestError, generate_clip, stack_outputs


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the smoke test with the environment's AWS credentials and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m smoke_test", description=__doc__)
    parser.add_argument("--stack", required=True, help="the deployed stack's name, for example MusicGen-dev")
    parser.add_argument("--region", help="its region; default: that of the AWS profile or environment")
    parser.add_argument("--minutes", type=float, default=30, help="how long to wait for the answer (30)")
    options = parser.parse_args(arguments)
    session = boto3.Session(region_name=options.region)
    try:
        outputs = stack_outputs(session.client("cloudformation"), options.stack)
        runtime, s3 = session.client("sagemaker-runtime"), session.client("s3")
        seconds = generate_clip(runtime, s3, outputs, timeout_seconds=60 * options.minutes)
    except SmokeTestError as error:
        print(f"smoke test of {options.stack} failed: {error}", file=sys.stderr)
        return 1
    print(f"{options.stack} generated {seconds:.2f} s of music")
    return 0


if __name__ == "__main__":
    sys.exit(main())
