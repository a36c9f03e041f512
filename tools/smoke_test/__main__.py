# boto3-stubs know only the services that the project installs them for
# pyright: reportUnknownMemberType=false
"""Check that a deployed stack generates music: `python -m smoke_test --stack MusicGen-dev`.

Exit status: 0 the stack made music; 1 it was asked and made none; 2 it could not be asked, which says nothing about it:
no credentials, a missing permission, no such stack in this account and region, or a network fault.
"""

import argparse
import sys
from collections.abc import Sequence
from typing import Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from smoke_test.endpoint import CouldNotAsk, SmokeTestError, generate_clip, stack_outputs


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the smoke test with the environment's AWS credentials and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m smoke_test", description=__doc__)
    parser.add_argument("--stack", required=True, help="the deployed stack's name, for example MusicGen-dev")
    parser.add_argument("--region", help="its region; default: that of the AWS profile or environment")
    parser.add_argument("--minutes", type=float, default=30, help="how long to wait for the answer (30)")
    options = parser.parse_args(arguments)
    try:
        session = boto3.Session(region_name=options.region)
        outputs = stack_outputs(session.client("cloudformation"), options.stack)
        runtime, s3 = session.client("sagemaker-runtime"), session.client("s3")
        seconds = generate_clip(runtime, s3, outputs, timeout_seconds=60 * options.minutes)
    except SmokeTestError as error:
        print(f"smoke test of {options.stack} failed: {error}", file=sys.stderr)
        return 1
    except (CouldNotAsk, BotoCoreError, ClientError) as error:
        print(f"{options.stack} could not be asked for music: {describe(error)}", file=sys.stderr)
        return 2
    print(f"{options.stack} generated {seconds:.2f} s of music")
    return 0


def describe(error: Exception) -> str:
    """Return one line: what failed, and for AWS's refusals the operation, the code and the message."""
    if not isinstance(error, ClientError):
        return str(error)
    answer: dict[str, Any] = dict(error.response.get("Error", {}))
    return f"{error.operation_name}: {answer.get('Code')}: {answer.get('Message')}"


if __name__ == "__main__":
    sys.exit(main())
