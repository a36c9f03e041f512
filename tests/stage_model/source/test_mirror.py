"""Staging from an S3 mirror gives the same object as from the Hub; a damaged mirror stages nothing."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mypy_boto3_s3 import S3Client

from local_aws.hub import HubRequest, LoopbackHub, Reply
from mirror_model.__main__ import main
from tests.stage_model.fakes.lambda_runner import reads_weights

MIRROR = "a-mirror"
Invoke = Callable[..., dict[str, Any]]
Left = Callable[[], tuple[list[str], int]]


@pytest.fixture
def mirror(hub: LoopbackHub, s3: S3Client) -> Any:
    """Mirror the commit to s3://a-mirror/models and return the command's exit code."""
    s3.create_bucket(Bucket=MIRROR)

    def copy(*more: str) -> int:
        repository = hub.repository
        given = ["--model-id", repository.model_id, "--revision", repository.revision, "--hub", hub.url]
        return main([*given, "--to", f"s3://{MIRROR}/models", "--region", "us-east-1", *more])

    yield copy
    for item in s3.list_objects_v2(Bucket=MIRROR).get("Contents", []):
        s3.delete_object(Bucket=MIRROR, Key=item.get("Key", ""))
    s3.delete_bucket(Bucket=MIRROR)


@pytest.fixture
def folder(hub: LoopbackHub) -> str:
    return f"models/{hub.repository.model_id}/{hub.repository.revision}/"


@pytest.fixture
def from_mirror(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> Invoke:
    """Stage from the mirror."""
    monkeypatch.setenv("HF_ENDPOINT", f"s3://{MIRROR}/models")
    return invoke


def keys(s3: S3Client) -> set[str]:
    return {item.get("Key", "") for item in s3.list_objects_v2(Bucket=MIRROR).get("Contents", [])}


def test_a_mirror_holds_what_is_staged_and_the_hubs_listing(mirror: Any, hub: LoopbackHub, s3: S3Client, folder: str):
    assert mirror() == 0
    names = {
        "config.json",
        "generation_config.json",
        "tokenizer.json",
        "spiece.model",
        "model.safetensors",
        "README.md",
    }
    assert keys(s3) == {f"{folder}{name}" for name in {*names, "listing.json"}}
    listing = s3.get_object(Bucket=MIRROR, Key=f"{folder}listing.json")["Body"].read()
    assert json.loads(listing) == hub.repository.information()
    weights = s3.get_object(Bucket=MIRROR, Key=f"{folder}model.safetensors")["Body"].read()
    assert weights == hub.repository.read("model.safetensors")


@pytest.mark.parametrize("packaging", ["tarball", "uncompressed"])
def test_staging_from_a_mirror_gives_the_same_object_as_from_the_hub(
    mirror: Any, invoke: Invoke, hub: LoopbackHub, left_in_bucket: Left, monkeypatch: pytest.MonkeyPatch, packaging: str
) -> None:
    by_hub = invoke(Packaging=packaging)
    invoke("Delete", by_hub["PhysicalResourceId"], Packaging=packaging)
    assert mirror() == 0
    before = len(hub.requests)
    monkeypatch.setenv("HF_ENDPOINT", f"s3://{MIRROR}/models")
    by_mirror = invoke(Packaging=packaging)
    assert by_mirror["Status"] == "SUCCESS"
    assert by_mirror["Data"] == by_hub["Data"]
    assert len(hub.requests) == before
    assert left_in_bucket()[0]


def test_a_gated_model_is_mirrored_with_the_token_of_the_environment(
    mirror: Any, hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.token = "hf_secret-token"
    assert mirror() == 1
    assert "is gated or private: the Hub answered 401 and no token is configured" in capsys.readouterr().err
    monkeypatch.setenv("HF_TOKEN", "hf_secret-token")
    assert mirror() == 0
    assert "hf_secret" not in "".join(capsys.readouterr())


def test_a_damaged_file_is_not_mirrored_and_the_mirror_is_incomplete(
    mirror: Any, hub: LoopbackHub, s3: S3Client, folder: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def flip(request: HubRequest, reply: Reply) -> Reply:
        if reads_weights(request):
            reply.body = reply.body[:-1] + bytes([reply.body[-1] ^ 1])
        return reply

    hub.on_reply = flip
    assert mirror() == 1
    assert "model.safetensors must have checksum" in capsys.readouterr().err
    assert not {f"{folder}model.safetensors", f"{folder}listing.json"} & keys(s3)


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("listing.json", None, "must hold listing.json, got no such object"),
        ("listing.json", b'{"sha": "main"}', "must resolve to that commit"),
        ("config.json", b"{}", "config.json"),
        ("model.safetensors", None, "model.safetensors"),
    ],
)
def test_a_damaged_mirror_stages_nothing(
    mirror: Any, from_mirror: Invoke, s3: S3Client, folder: str, left_in_bucket: Left,
    name: str, data: bytes | None, reason: str,
) -> None:  # fmt: skip
    mirror()
    if data is None:
        s3.delete_object(Bucket=MIRROR, Key=folder + name)
    else:
        s3.put_object(Bucket=MIRROR, Key=folder + name, Body=data)
    response = from_mirror()
    assert response["Status"] == "FAILED"
    assert reason in response["Reason"]
    assert left_in_bucket() == ([], 0)


def test_one_flipped_bit_in_a_mirrored_file_stages_nothing(
    mirror: Any, from_mirror: Invoke, s3: S3Client, folder: str, left_in_bucket: Left
) -> None:
    mirror()
    key = f"{folder}model.safetensors"
    data = bytearray(s3.get_object(Bucket=MIRROR, Key=key)["Body"].read())
    data[-1] ^= 1
    s3.put_object(Bucket=MIRROR, Key=key, Body=bytes(data))
    response = from_mirror()
    assert response["Status"] == "FAILED"
    assert "model.safetensors must have SHA-256" in response["Reason"]
    assert left_in_bucket() == ([], 0)


@pytest.mark.parametrize(
    ("argument", "value", "message"),
    [
        ("--to", "bucket/prefix", "must be s3://<bucket>/<prefix> without a final slash, got 'bucket/prefix'"),
        ("--to", "s3://bucket/prefix/", "without a final slash"),
        ("--revision", "main", "must be 40 hexadecimal digits, got 'main'"),
    ],
)
def test_what_cannot_be_mirrored_is_reported_at_once(
    argument: str, value: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    given = {"--model-id": "facebook/x", "--revision": "a" * 40, "--to": "s3://bucket/prefix", argument: value}
    with pytest.raises(SystemExit) as ended:
        main([part for pair in given.items() for part in pair])
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


def test_a_model_in_a_folder_is_mirrored_and_staged_without_being_on_the_hub(
    s3: S3Client, hub: LoopbackHub, mirror: Any, from_mirror: Invoke, tmp_path: Path,
    capsys: pytest.CaptureFixture[str], left_in_bucket: Left,
) -> None:  # fmt: skip
    for name in hub.repository.files:
        (tmp_path / name).write_bytes(hub.repository.read(name))
    (tmp_path / "checkpoints").mkdir()
    given = ["--model-id", "me/my-musicgen", "--to", f"s3://{MIRROR}/models", "--region", "us-east-1"]
    assert main([*given, "--folder", str(tmp_path)]) == 0
    printed = capsys.readouterr().out.splitlines()[-1]
    revision = printed.partition("-c revision=")[2][:40]
    assert printed.endswith(f"-c revision={revision} -c model_id=me/my-musicgen -c model_like=…")
    before = len(hub.requests)
    response = from_mirror(ModelId="me/my-musicgen", Revision=revision)
    assert response["Status"] == "SUCCESS", response
    assert (len(hub.requests), len(left_in_bucket()[0])) == (before, 1)
    key = f"models/me/my-musicgen/{revision}/model.safetensors"
    weights = bytearray(s3.get_object(Bucket=MIRROR, Key=key)["Body"].read())
    weights[-1] ^= 1
    s3.put_object(Bucket=MIRROR, Key=key, Body=bytes(weights))
    assert (
        "must have SHA-256"
        in from_mirror(ModelId="me/my-musicgen", Revision=revision, DecoderDtype="float16")["Reason"]
    )
    (tmp_path / "config.json").write_text("{}")
    assert main([*given, "--folder", str(tmp_path)]) == 0
    assert revision not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "reason"), [("nothing", "--folder must be a folder, got"), (".", "the repository must hold weights")]
)
def test_a_folder_without_a_model_is_refused(
    mirror: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, reason: str
) -> None:
    given = ["--model-id", "me/my-musicgen", "--to", f"s3://{MIRROR}/models", "--region", "us-east-1"]
    assert main([*given, "--folder", str(tmp_path / name)]) == 1
    assert reason in capsys.readouterr().err


def test_a_pair_of_audiocraft_is_mirrored_without_a_configuration(s3: S3Client, mirror: Any, tmp_path: Path) -> None:
    names = {"state_dict.bin", "compression_state_dict.bin", "README.md"}
    for name in (*names, "notes.json"):
        (tmp_path / name).write_bytes(b"x")
    given = ["--model-id", "me/my-musicgen", "--to", f"s3://{MIRROR}/models", "--region", "us-east-1"]
    assert main([*given, "--folder", str(tmp_path)]) == 0
    assert {key.rpartition("/")[2] for key in keys(s3)} == {*names, "listing.json"}
