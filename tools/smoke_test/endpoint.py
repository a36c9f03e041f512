"""Request a clip as a client does, through the stack's outputs, InvokeEndpointAsync and S3, and check the audio."""

import array
import io
import json
import sys
import time
import uuid
import wave
from typing import Any

from botocore.exceptions import ClientError

PROMPT = "warm acoustic guitar, slow and calm"
CLIP_SECONDS = 3.0
TOLERANCE_SECONDS = 0.1
MIN_PEAK = 100  # of 32767; anything below is silence
POLL_SECONDS = 5.0
OUTPUTS = ("EndpointName", "OutputBucketName")
Client = Any  # boto3's clients have no static types


class SmokeTestError(Exception):
    """The stack was asked, and did not generate the requested clip."""


class CouldNotAsk(Exception):
    """The stack could not be asked."""


def stack_outputs(cloudformation: Client, stack: str) -> dict[str, str]:
    """Return a deployed stack's outputs; CouldNotAsk if it is not a stack of this project.

    Raises botocore's ClientError if there is no such stack in the account and region, or it may not be described.
    """
    (description,) = cloudformation.describe_stacks(StackName=stack)["Stacks"]
    outputs = {item["OutputKey"]: item["OutputValue"] for item in description.get("Outputs", [])}
    if missing := [name for name in OUTPUTS if name not in outputs]:
        raise CouldNotAsk(f"stack {stack} has no output {', '.join(missing)}; is it a MusicGen stack?")
    return outputs


def generate_clip(runtime: Client, s3: Client, outputs: dict[str, str], *, timeout_seconds: float) -> float:
    """Request a clip, wait for it, check it and return its length in seconds; SmokeTestError if there is none.

    Raises botocore's ClientError if AWS refuses a call for another reason, such as a missing permission.
    """
    body = {"texts": [PROMPT], "generation_params": {"duration": CLIP_SECONDS, "seed": 7}}
    invocation = _invoke(
        runtime,
        EndpointName=outputs["EndpointName"],
        Body=json.dumps(body),
        ContentType="application/json",
        Accept="application/json",
        InferenceId=f"smoke-test-{uuid.uuid4().hex}",
    )
    response = json.loads(
        _wait_for_response(s3, invocation["OutputLocation"], invocation.get("FailureLocation"), timeout_seconds)
    )
    url = response["generated_outputs_s3"][0]
    audio = _read(s3, url)
    if audio is None:
        raise SmokeTestError(f"the response names {url}, but there is no such object")
    return check_wav(audio, seconds=CLIP_SECONDS, sampling_rate=int(response["sampling_rate"]))


def _invoke(runtime: Client, **request: str) -> dict[str, str]:
    """Call InvokeEndpointAsync; SmokeTestError if the endpoint is missing, has failed or does not take the request."""
    try:
        return runtime.invoke_endpoint_async(**request)
    except ClientError as error:
        answer = error.response.get("Error", {})
        if answer.get("Code") == "ValidationError":
            raise SmokeTestError(f"{request['EndpointName']} refused the request: {answer.get('Message')}") from error
        raise


def _wait_for_response(s3: Client, output: str, failure: str | None, timeout_seconds: float) -> bytes:
    """Poll until the response is there; an endpoint scaled to zero takes minutes to start an instance."""
    deadline = time.monotonic() + timeout_seconds
    while time.monotonic() < deadline:
        if (response := _read(s3, output)) is not None:
            return response
        if failure and (error := _read(s3, failure)) is not None:
            raise SmokeTestError(f"the endpoint returned an error: {error.decode(errors='replace')[:500]}")
        time.sleep(POLL_SECONDS)
    raise SmokeTestError(f"no response within {timeout_seconds:.0f} s")


def _read(s3: Client, url: str) -> bytes | None:
    """Return the object at `s3://bucket/key`, None if it does not exist yet."""
    bucket, _, key = url.removeprefix("s3://").partition("/")
    try:
        return s3.get_object(Bucket=bucket, Key=key)["Body"].read()
    except s3.exceptions.NoSuchKey:
        return None


def check_wav(content: bytes, *, seconds: float, sampling_rate: int) -> float:
    """Return a 16-bit WAV file's length in seconds; SmokeTestError unless it is valid, long enough and not silent."""
    try:
        with wave.open(io.BytesIO(content)) as file:
            rate, frames, width = file.getframerate(), file.getnframes(), file.getsampwidth()
            samples = file.readframes(frames)
    except (wave.Error, EOFError) as error:
        raise SmokeTestError(f"the audio is not a WAV file: {error}") from error
    if width != 2 or rate != sampling_rate:
        raise SmokeTestError(f"the audio must have 16 bits at {sampling_rate} Hz, got {8 * width} bits at {rate} Hz")
    length = frames / rate
    if abs(length - seconds) > TOLERANCE_SECONDS:
        raise SmokeTestError(f"the audio must last {seconds:g} s, got {length:.2f}")
    values = array.array("h", samples)
    if sys.byteorder == "big":
        values.byteswap()
    peak = max(map(abs, values), default=0)
    if peak < MIN_PEAK:
        raise SmokeTestError(f"the audio is silent: its peak is {peak} of 32767")
    return length
