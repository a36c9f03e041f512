"""The stack staged from a mirror in S3, which the command of the documentation has made from a gated model."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Generator

import pytest
from deployed_rights import Right
from probed_stack import STAGING, Account, ProbedStack, probed_stack, tools_on_path
from walkthrough_process import PROJECT

pytestmark = pytest.mark.timeout(900)

BUCKET, PREFIX, TOKEN = "a-teams-mirror", "hub", "hf_a-token-of-the-machine-that-mirrors"


def prepare(account: Account) -> dict[str, str]:
    """Make the mirror."""
    aws = account.aws
    aws.client("s3").create_bucket(Bucket=BUCKET)
    address = f"s3://{BUCKET}/{PREFIX}"
    command = [sys.executable, "-m", "mirror_model", "--model-id", account.model_id, "--revision", account.revision]
    done = subprocess.run(
        [*command, "--hub", account.hub_url, "--to", address],
        cwd=PROJECT,
        env={**aws.environment(), "PYTHONPATH": f"{PROJECT / 'lambda'}:{PROJECT / 'tools'}", "HF_TOKEN": TOKEN},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    assert done.returncode == 0
    assert done.stdout.endswith(f"deploy with -c hub_endpoint={address} -c revision={account.revision}\n")
    return {"hub_endpoint": address}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Generator[ProbedStack]:
    """A deployment that never asks the Hub."""
    with tools_on_path(), probed_stack(tmp_path_factory.mktemp("mirror"), prepare=prepare, token=TOKEN) as deployed:
        yield deployed


def test_the_function_stages_from_the_mirror_and_removes(stack: ProbedStack) -> None:
    assert stack.first_failure(STAGING, stack.probes[STAGING]) is None


def test_the_function_may_read_the_commit_alone_and_needs_to(stack: ProbedStack) -> None:
    (read,) = (r for r in stack.rights.all() if r.holder == STAGING and BUCKET in r.resource)
    resource = f"arn:aws:s3:::{BUCKET}/{PREFIX}/{stack.staged['ModelId']}/{stack.staged['Revision']}/*"
    assert read == Right(STAGING, "s3:GetObject", resource)
    failure = stack.why_needed(read)
    assert failure is not None
    assert "listing.json" in failure
