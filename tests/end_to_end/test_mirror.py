"""Staging from an S3 mirror that the documented command created from a gated model."""

import subprocess
import sys
from collections.abc import Generator

import pytest
from botocore.exceptions import ClientError

from tests.end_to_end.helpers.walkthrough_process import PROJECT
from tests.end_to_end.rights.deployed_permissions import Permission
from tests.end_to_end.rights.probed_stack import STAGING, Account, ProbedStack, probed_stack, tools_on_path

pytestmark = pytest.mark.timeout(900)

BUCKET, PREFIX, TOKEN = "a-teams-mirror", "hub", "hf_a-token-of-the-machine-that-mirrors"


def prepare(account: Account) -> dict[str, str]:
    """Create the mirror."""
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
    """A deployment that never contacts the Hub."""
    with tools_on_path(), probed_stack(tmp_path_factory.mktemp("mirror"), prepare=prepare, token=TOKEN) as deployed:
        yield deployed


def test_function_stages_from_the_mirror_and_deletes(stack: ProbedStack) -> None:
    assert stack.first_failure(STAGING, stack.probes[STAGING]) is None


@pytest.fixture
def folder(stack: ProbedStack) -> str:
    """The mirror's prefix for the commit."""
    return f"{PREFIX}/{stack.staged['ModelId']}/{stack.staged['Revision']}/"


def test_function_may_and_must_read_only_the_commit(stack: ProbedStack, folder: str) -> None:
    read, listing = sorted(
        (r for r in stack.permissions.all() if r.principal == STAGING and BUCKET in r.resource), key=str
    )
    assert read == Permission(STAGING, "s3:GetObject", f"arn:aws:s3:::{BUCKET}/{folder}*")
    assert listing == Permission(STAGING, "s3:ListBucket", f"arn:aws:s3:::{BUCKET}")
    failure = stack.failure_without(read)
    assert failure is not None
    assert "listing.json" in failure


def test_function_cannot_read_anything_else_in_the_mirror(stack: ProbedStack, folder: str) -> None:
    stack.aws.client("s3").put_object(Bucket=BUCKET, Key=f"{PREFIX}/another/model.safetensors", Body=b"x")
    own = stack.aws.client_as("s3", *stack.keys(STAGING))
    assert own.list_objects_v2(Bucket=BUCKET, Prefix=folder)["KeyCount"]
    for denied in (
        lambda: own.list_objects_v2(Bucket=BUCKET),
        lambda: own.get_object(Bucket=BUCKET, Key=f"{PREFIX}/another/model.safetensors"),
        lambda: own.put_object(Bucket=BUCKET, Key=f"{folder}listing.json", Body=b"x"),
    ):
        with pytest.raises(ClientError, match="AccessDenied"):
            denied()


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("listing.json", "must hold listing.json, got no such object"),
        ("model.safetensors", "not with the requested range"),
    ],
)
def test_missing_file_in_the_mirror_is_reported(stack: ProbedStack, folder: str, name: str, reason: str) -> None:
    s3 = stack.aws.client("s3")
    data = s3.get_object(Bucket=BUCKET, Key=folder + name)["Body"].read()
    s3.delete_object(Bucket=BUCKET, Key=folder + name)
    try:
        failure = stack.staging.creation_failure()
    finally:
        s3.put_object(Bucket=BUCKET, Key=folder + name, Body=data)
    assert reason in failure
    assert name in failure


def test_missing_file_looks_forbidden_without_the_list_permission(stack: ProbedStack, folder: str) -> None:
    (listing,) = (
        r for r in stack.permissions.all() if (r.action, r.resource) == ("s3:ListBucket", f"arn:aws:s3:::{BUCKET}")
    )
    s3, key = stack.aws.client("s3"), f"{folder}listing.json"
    data = s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()
    s3.delete_object(Bucket=BUCKET, Key=key)
    try:
        with stack.permissions.without([listing]):
            failure = stack.staging.creation_failure()
    finally:
        s3.put_object(Bucket=BUCKET, Key=key, Body=data)
    assert "AccessDenied" in failure
