"""The client through real boto3 calls: InvokeEndpointAsync, S3 and a process that is killed, with fake containers."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import musicgen_client
from local_aws.emulator import clients
from local_aws.emulator.account import ROOT_ACCESS_KEY_ID, ROOT_SECRET_ACCESS_KEY
from musicgen_client import Limits, MusicGen, Request
from musicgen_client.errors import EndpointError, RequestRefused
from musicgen_client.history import History
from musicgen_client.journal import replay
from tests.client.helpers.fake_aws import wav
from tests.local_aws.helpers import fake_container

JOBS = 40
# The client's time runs four times faster: a job that was killed while it was sent is in doubt for 64 seconds.
PROCESS = """
import sys, time
from musicgen_client import Limits, MusicGen
began = float(sys.argv[3])
music = MusicGen(
    sys.argv[1],
    limits=Limits(ttl=60, time_limit=2, margin=2, window=4),
    clock=lambda: began + 4 * (time.time() - began),
    sleep=lambda seconds: time.sleep(seconds / 4),
)
prompts = (f"tune {index}" for index in range(int(sys.argv[2])))
for outcome in music.generate_many(prompts, name="batch", duration=0.02):
    assert outcome.error is None, outcome.error
"""


@pytest.fixture
def generated(endpoint: Any, monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Let the containers answer as the bundle does; count the generations of each inference id."""
    counts: Counter[str] = Counter()

    def answer(handler: Any, wanted: dict[str, Any], delivery: int) -> None:
        job = handler.headers["X-Amzn-SageMaker-Inference-Id"]
        if "refuse" in wanted["texts"][0]:
            handler._reply(422, b'{"error": "texts[0] must be nicer, got this", "status": 422}')
            return
        counts[job] += 1
        seeds = [wanted["generation_params"]["seed"] + index for index in range(len(wanted["texts"]))]
        keys = [f"audio/{job}/musicgen_tiny_{job}_{index}.wav" for index in range(len(seeds))]
        for key, seed in zip(keys, seeds, strict=True):
            endpoint.s3.put_object(Bucket=endpoint.bucket, Key=key, Body=wav(0.02, seed))
        response = {
            "contract": 1,
            "generated_outputs_s3": [f"s3://{endpoint.bucket}/{key}" for key in keys],
            "seeds": seeds,
            "durations": [0.02] * len(seeds),
            "sampling_rate": 32_000,
            "inference_id": job,
        }
        handler._reply(200, json.dumps(response).encode())

    monkeypatch.setattr(fake_container._ContainerHandler, "_answer", answer)  # pyright: ignore[reportPrivateUsage]
    return counts


@pytest.fixture
def deployed(endpoint: Any, sagemaker_server: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """A CloudFormation stack with the outputs of ours; the environment has only credentials and AWS's address."""
    names = {"EndpointName": endpoint.name, "InputBucketName": endpoint.bucket, "OutputBucketName": endpoint.bucket}
    template = {
        "Resources": {"Topic": {"Type": "AWS::SNS::Topic"}},
        "Outputs": {name: {"Value": value} for name, value in names.items()},
    }
    name = f"stack-{endpoint.name}"
    clients.client("cloudformation").create_stack(StackName=name, TemplateBody=json.dumps(template))
    monkeypatch.setenv("AWS_ENDPOINT_URL", sagemaker_server)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ROOT_ACCESS_KEY_ID)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", ROOT_SECRET_ACCESS_KEY)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("MUSICGEN_STATE", str(tmp_path / "state"))
    return name


def test_prompt_becomes_a_clip_inline_and_through_s3(
    deployed: str, endpoint: Any, generated: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    music = MusicGen(deployed)
    clip = music.generate("calm piano", duration=0.02, seed=3)
    assert (clip.seed, clip.duration) == (3, 0.02)
    assert endpoint.object(f"s3://{endpoint.bucket}/out/{clip.inference_id}.out")
    music.transport.inline = False  # as with an older botocore
    (other,) = music.generate_all(Request(texts=("calm piano",), duration=0.02, seed=4))
    assert endpoint.object(f"s3://{endpoint.bucket}/in/{other.inference_id}.json")
    assert set(generated) == {clip.inference_id, other.inference_id}


def test_refusal_and_missing_endpoint_are_exceptions(deployed: str, endpoint: Any, generated: Counter[str]) -> None:
    music = MusicGen(deployed)
    with pytest.raises(RequestRefused, match=r"texts\[0\] must be nicer, got this"):
        music.generate("refuse me")
    object.__setattr__(music.stack, "endpoint", "no-such-endpoint")
    with pytest.raises(EndpointError, match="endpoint no-such-endpoint did not take the request"):
        music.generate("x")
    with pytest.raises(EndpointError, match="no endpoint no-such-endpoint"):
        music.status()


def test_results_arrive_through_a_queue(deployed: str, endpoint: Any, generated: Counter[str]) -> None:
    music = MusicGen(deployed, queue_url=endpoint.queue, limits=Limits())
    assert music.generate("calm piano", duration=0.02).duration == 0.02


def test_killed_process_loses_no_job_and_generates_none_twice(
    deployed: str, endpoint: Any, generated: Counter[str], tmp_path: Path
) -> None:
    chance, kills = random.Random(5), 0
    environment = {**os.environ, "PYTHONPATH": str(Path(musicgen_client.__file__).parents[1])}
    journal = History(deployed).of_batch("batch")
    deadline, began = time.monotonic() + 400, str(time.time())
    while True:
        assert time.monotonic() < deadline
        process = subprocess.Popen([sys.executable, "-c", PROCESS, deployed, str(JOBS), began], env=environment)
        before = journal.stat().st_size if journal.exists() else 0
        until = before + chance.randrange(200, 4000)  # bytes of the journal
        while process.poll() is None:
            if kills < 8 and journal.exists() and journal.stat().st_size > until:
                os.kill(process.pid, signal.SIGKILL)
                kills += 1
                process.wait()
            time.sleep(0.002)
        if process.returncode != -signal.SIGKILL:
            break
    assert process.returncode == 0
    assert kills >= 5
    assert len(generated) == JOBS and set(generated.values()) == {1}
    assert [record.status for record in replay(journal)] == ["completed"] * JOBS
