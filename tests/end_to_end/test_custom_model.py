"""A melody model of one's own in a private bucket is deployed with the documented commands, and follows a melody."""

import io
import json
import re
import subprocess
import sys
import tarfile
import uuid
import wave
from collections.abc import Generator
from pathlib import Path

import pytest

from local_aws.hub.tiny_model import make_tiny_musicgen
from tests.end_to_end.helpers.walkthrough_process import PROJECT
from tests.end_to_end.rights.access_denials import AccessDenials
from tests.end_to_end.rights.probed_stack import SERVING, Account, ProbedStack, probed_stack, tools_on_path

pytestmark = pytest.mark.timeout(900)

BUCKET, MODEL_ID, LIKE = "a-teams-models", "me/my-melody", "facebook/musicgen-stereo-melody"
CARD = "---\nlicense: mit\n---\n# Random weights\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stereo melody model with a card, as someone has it on their disk."""
    path = tmp_path_factory.mktemp("my-melody")
    make_tiny_musicgen(path, seed=5, stereo=True, melody=True)
    (path / "README.md").write_text(CARD, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def stack(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Generator[ProbedStack]:
    """A deployment of what `make mirror FOLDER=…` copied to S3, with the settings that it printed."""

    def prepare(account: Account) -> dict[str, str]:
        account.aws.client("s3").create_bucket(Bucket=BUCKET)
        command = [sys.executable, "-m", "mirror_model", "--model-id", MODEL_ID, "--folder", str(folder)]
        done = subprocess.run(
            [*command, "--to", f"s3://{BUCKET}/models"], cwd=PROJECT, check=False, capture_output=True, text=True,
            env={**account.aws.environment(), "PYTHONPATH": f"{PROJECT / 'lambda'}:{PROJECT / 'tools'}"},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        settings = dict(re.findall(r"-c (\w+)=(\S+)", done.stdout.splitlines()[-1]))
        assert settings.keys() == {"hub_endpoint", "revision", "model_id", "model_like"}
        return {**settings, "model_like": LIKE}

    with tools_on_path(), probed_stack(tmp_path_factory.mktemp("custom"), prepare=prepare) as deployed:
        yield deployed


def test_clips_of_the_custom_model_follow_a_melody(stack: ProbedStack) -> None:
    denials = AccessDenials(stack.aws, stack.role(SERVING))
    first = stack.serving.make_clip(denials, f"first-{uuid.uuid4()}")
    name = f"second-{uuid.uuid4()}"
    second = stack.serving.make_clip(denials, name, melody={"audio": {"s3": first}})
    bucket, _, key = second.removeprefix("s3://").partition("/")
    audio = stack.aws.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read()
    with wave.open(io.BytesIO(audio)) as clip:
        assert (clip.getnchannels(), clip.getframerate(), clip.getnframes()) == (2, 32_000, 640)
    assert denials.lines() == []


def test_manifest_names_the_model_and_the_licence_of_its_card(stack: ProbedStack) -> None:
    bucket, _, key = stack.outputs["ModelDataUrl"].removeprefix("s3://").partition("/")
    staged = stack.aws.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read()
    with tarfile.open(fileobj=io.BytesIO(staged), mode="r:gz") as archive:
        file = archive.extractfile("musicgen-manifest.json")
        assert file is not None
        manifest = json.load(file)
    assert (manifest["model_id"], manifest["revision"]) == (MODEL_ID, stack.staged["Revision"])
    assert manifest["license"] == "mit"
