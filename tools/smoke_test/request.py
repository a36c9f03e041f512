"""One request to the endpoint, through what clients use: the stack's outputs, InvokeEndpointAsync and S3."""

import json
import time
import uuid
from typing import Any

from smoke_test.audio import check

PROMPT = "warm acoustic guitar, slow and calm"
SECONDS = 3.0
POLL_SECONDS = 5.0
NEEDED = ("EndpointName", "OutputBucketName")
Client = Any  # boto3's clients are made at run time


class Failed(Exception):
    """Why the stack makes no music."""


def stack_outputs(cloudformation: Client, stack: str) -> dict[str, str]:
    """The outputs of a deployed stack. Failed where they are not those of this project."""
    (found,) = cloudformation.describe_stacks(StackName=stack)["Stacks"]
    outputs = {item["OutputKey"]: item["OutputValue"] for item in found.get("Outputs", [])}
    missing = [name for name in NEEDED if name not in outputs]
    if missing:
        raise Failed(f"stack {stack} must have the outputs {', '.join(NEEDED)}, and lacks {', '.join(missing)}")
    return outputs


def make_music(runtime: Client, s3: Client, outputs: dict[str, str], *, patience_seconds: float) -> float:
    """Ask for a clip, wait for it, and check it; its length in seconds. Failed, or NotMusic, with the reason."""
    body = {"texts": [PROMPT], "generation_params": {"duration": SECONDS, "seed": 7}}
    answer = runtime.invoke_endpoint_async(
        EndpointName=outputs["EndpointName"],
        Body=json.dumps(body),
        ContentType="application/json",
        Accept="application/json",
        InferenceId=f"smoke-test-{uuid.uuid4().hex}",
    )
    result = _wait(s3, answer["OutputLocation"], answer.get("FailureLocation"), patience_seconds)
    audio = _read(s3, json.loads(result)["generated_outputs_s3"][0])
    if audio is None:
        raise Failed("the audio that the answer names must exist, and does not")
    return check(audio, seconds=SECONDS, sampling_rate=int(json.loads(result)["sampling_rate"]))


def _wait(s3: Client, done: str, failed: str | None, patience_seconds: float) -> bytes:
    """The answer, when it is there. An endpoint that sleeps takes some minutes to wake."""
    deadline = time.monotonic() + patience_seconds
    while time.monotonic() < deadline:
        answer = _read(s3, done)
        if answer is not None:
            return answer
        failure = _read(s3, failed) if failed else None
        if failure is not None:
            raise Failed(f"the endpoint refused or failed: {failure.decode(errors='replace')[:500]}")
        time.sleep(POLL_SECONDS)
    raise Failed(f"an answer must come within {patience_seconds:.0f} s, and did not")


def _read(s3: Client, location: str) -> bytes | None:
    """An object at `s3://bucket/key`; None while it is not there."""
    bucket, _, key = location.removeprefix("s3://").partition("/")
    try:
        return s3.get_object(Bucket=bucket, Key=key)["Body"].read()
    except s3.exceptions.NoSuchKey:
        return None
