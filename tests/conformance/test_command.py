"""`python -m conformance --account`, in an account that is the embedded AWS."""

import itertools
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from conformance import page
from conformance.behaviour import root
from conformance.workspace import Workspace
from local_aws.emulator.process import LocalAws


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> LocalAws:
    return LocalAws(tmp_path_factory.mktemp("aws"))


def run(aws: LocalAws, typed: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "conformance", "--account", *arguments]
    environment = aws.environment() | {"PYTHONPATH": ":".join(sys.path)}
    return subprocess.run(
        command, cwd=root(), env=environment, input=typed, capture_output=True, text=True, check=False, timeout=300
    )


def test_an_account_is_asked_for_and_left_empty(aws: LocalAws) -> None:
    before = {file: file.read_bytes() for file in [page.PAGE, *page.RESULTS.iterdir()]}
    with aws:
        refused = run(aws, "000000000000\n")
        buckets = aws.client("s3").list_buckets()["Buckets"]
        assert (refused.returncode, buckets) == (2, [])
        assert f"account {aws.account_id}, region us-east-1" in refused.stdout and "$" in refused.stdout

        accepted = run(aws, f"{aws.account_id}\n", "--area", "topics")
        assert accepted.returncode == 0, accepted.stdout + accepted.stderr
        assert "left:" not in accepted.stderr

        left = aws.client("sns").create_topic(Name="mine", Tags=[{"Key": "musicgen-conformance", "Value": "x"}])
        reported = run(aws, f"{aws.account_id}\n", "--area", "topics")
        assert reported.returncode == 1 and f"left: {left['TopicArn']}" in reported.stderr
    # The answers of an emulator are not stored as an account's.
    assert {Path(file): file.read_bytes() for file in [page.PAGE, *page.RESULTS.iterdir()]} == before


def test_no_name_is_a_part_of_another() -> None:
    """Or what lists by a part of a name would find what other rows made."""
    target: Any = None  # names need none
    workspace = Workspace(target)
    names = [workspace.name("endpoint") for _ in range(120)]
    assert not [pair for pair in itertools.permutations(names, 2) if pair[0] in pair[1]]
