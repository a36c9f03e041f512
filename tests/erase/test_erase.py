# boto3-stubs know only the services that the project installs them for
# pyright: reportUnknownMemberType=false
"""Erasing what a stack stores of one user's requests, on moto's S3, with versioning off and on."""

import json
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from moto import mock_aws

import erase

INPUTS, OUTPUTS = "inputs", "outputs"
STACK = {
    "Resources": {"Topic": {"Type": "AWS::SNS::Topic"}},
    "Outputs": {"InputBucketName": {"Value": INPUTS}, "OutputBucketName": {"Value": OUTPUTS}},
}
MINE = {
    "audio/alice-1/musicgen_large_alice-1_0.wav",
    "audio/alice-1/progress.json",
    "cancel/alice-1",
    "out/1111.out",
}
OTHERS = {
    "audio/alice-10/a.wav",
    "audio/bob-1/a.wav",
    "cancel/alice-10",
    "out/2222.out",
    "out/3333.out",
    "out/4444.out",
}
BODIES = {
    "out/1111.out": json.dumps({"inference_id": "alice-1"}).encode(),
    "out/2222.out": json.dumps({"inference_id": "alice-10"}).encode(),
    "out/3333.out": b"RIFF\xff not JSON",
    "out/4444.out": b"[1]",
}


@pytest.fixture(params=["", "Enabled"], ids=["unversioned", "versioned"])
def s3(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """S3 with the objects of several users; in a versioned bucket each key has an older version too."""
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
    with mock_aws():
        client: Any = boto3.client("s3")
        for bucket in (INPUTS, OUTPUTS):
            client.create_bucket(Bucket=bucket)
            if request.param:
                client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": request.param})
        client.put_object(Bucket=INPUTS, Key="in/alice.json", Body=b"{}")
        client.put_object(Bucket=INPUTS, Key="in/alice.json.backup", Body=b"{}")
        for key in sorted(MINE | OTHERS):
            for _ in range(2):
                client.put_object(Bucket=OUTPUTS, Key=key, Body=BODIES.get(key, b"x"))
        cloudformation: Any = boto3.client("cloudformation")
        cloudformation.create_stack(StackName="MusicGen-test", TemplateBody=json.dumps(STACK))
        yield client


def left(s3: Any, bucket: str) -> set[str]:
    """Return the keys of all versions and delete markers."""
    page = s3.list_object_versions(Bucket=bucket)
    return {item["Key"] for item in [*page.get("Versions", []), *page.get("DeleteMarkers", [])]}


def test_every_version_of_one_requests_objects_is_deleted_and_nothing_else(s3: Any, capsys: Any) -> None:
    arguments = ["--stack", "MusicGen-test", "--inference-id", "alice-1", "--key", "in/alice.json"]
    assert erase.main(arguments) == 0
    assert left(s3, OUTPUTS) == MINE | OTHERS  # only listed
    listed = capsys.readouterr().out
    assert "delete with --yes" in listed and all(f"s3://outputs/{key} " in listed for key in MINE)
    assert erase.main([*arguments, "--yes"]) == 0
    assert (left(s3, OUTPUTS), left(s3, INPUTS)) == (OTHERS, {"in/alice.json.backup"})


def test_a_prefix_erases_all_requests_of_a_user_and_a_deleted_objects_versions(s3: Any) -> None:
    s3.delete_object(Bucket=OUTPUTS, Key="audio/alice-1/progress.json")
    assert erase.main(["--stack", "MusicGen-test", "--inference-id", "alice-*", "--yes"]) == 0
    assert left(s3, OUTPUTS) == {"audio/bob-1/a.wav", "out/3333.out", "out/4444.out"}


def test_refusals_are_named_and_give_status_1(s3: Any, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    def refuse(s3: Any, versions: Any) -> list[str]:
        return ["s3://outputs/cancel/alice-1: AccessDenied"]

    monkeypatch.setattr(erase, "delete_versions", refuse)
    assert erase.main(["--stack", "MusicGen-test", "--inference-id", "alice-1", "--yes"]) == 1
    assert "cancel/alice-1: AccessDenied" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--inference-id or --key must be given"),
        (["--inference-id", "*"], "--inference-id must be 1 to 64 letters, digits, . _ or -, or 3 or more and *"),
        (["--inference-id", "a/b"], "got 'a/b'"),
        (["--key", "models/MusicGen-dev/x"], "--key must be an object under in/, out/, failures/, audio/ or cancel/"),
        (["--key", "out/"], "got 'out/'"),
    ],
)
def test_wrong_usage_deletes_nothing(arguments: list[str], message: str, capsys: Any) -> None:
    with pytest.raises(SystemExit) as ended:
        erase.main(["--stack", "MusicGen-test", *arguments])
    assert ended.value.code == 2 and message in capsys.readouterr().err


@pytest.mark.usefixtures("s3")
def test_a_stack_that_is_not_there_gives_status_2(capsys: Any) -> None:
    assert erase.main(["--stack", "MusicGen-none", "--inference-id", "alice-1"]) == 2
    assert "MusicGen-none" in capsys.readouterr().err
