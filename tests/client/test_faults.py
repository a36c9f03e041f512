"""Bad input and faults, one row each: the exception, what it says, and the command's exit status."""

import io
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionClosedError,
    EndpointConnectionError,
    IncompleteReadError,
    NoCredentialsError,
    ReadTimeoutError,
)

from musicgen_client import MusicGen
from musicgen_client import aws as client_aws
from musicgen_client.errors import (
    AccessError,
    ContractError,
    CorruptAudio,
    EndpointError,
    MusicGenError,
    PermissionMissing,
    SendInDoubt,
    ServiceError,
    StackError,
)
from tests.client.helpers.fake_aws import FakeAws, Queued, client_error, wav

NO = "User: arn:aws:iam::1:user/x is not authorized to perform: {} on resource: y"


def refuse(call: str, error: Exception) -> Callable[[FakeAws], None]:
    def install(aws: FakeAws) -> None:
        def fault(name: str, when: str) -> None:
            if (name, when) == (call, "before"):
                raise error

        aws.fault = fault

    return install


def stack(status: str, outputs: dict[str, str]) -> Callable[[FakeAws], None]:
    def install(aws: FakeAws) -> None:
        listed = [{"OutputKey": name, "OutputValue": value} for name, value in outputs.items()]
        described = {"StackStatus": status, "StackStatusReason": "Endpoint: no capacity", "Outputs": listed}

        def _describe(**_: Any) -> dict[str, Any]:
            return {"Stacks": [described]}

        aws._describe = _describe  # pyright: ignore[reportPrivateUsage]

    return install


def answer(body: bytes) -> Callable[[FakeAws], None]:
    def answers(_: Queued) -> tuple[int, bytes]:
        return 200, body

    return lambda aws: setattr(aws, "answer", answers)


def audio(content: bytes) -> Callable[[FakeAws], None]:
    def clip(_duration: float, _seed: int) -> bytes:
        return content

    return lambda aws: setattr(aws, "clip", clip)


def call_error(code: str, message: str, operation: str, status: int = 400) -> ClientError:
    return client_error(code, message, operation=operation, status=status)


def _cut(duration: float, seed: int) -> bytes:
    return wav(duration, seed)[:-2000]


def _stereo(duration: float, seed: int) -> bytes:
    return wav(duration, seed, channels=2)


ROWS: list[tuple[str, Callable[[FakeAws], None], type[MusicGenError], str, int]] = [
    ("no stack", refuse("describe", call_error("ValidationError", "Stack with id x does not exist", "DescribeStacks")),
     StackError, "there is no stack MusicGen-test; use --stack or MUSICGEN_STACK", 3),
    ("half-deployed", stack("ROLLBACK_COMPLETE", {}), StackError, "it is ROLLBACK_COMPLETE (Endpoint: no capacity)", 3),
    ("being created", stack("CREATE_IN_PROGRESS", {}), StackError, "it is CREATE_IN_PROGRESS", 3),
    ("another stack", stack("CREATE_COMPLETE", {"Url": "x"}), StackError, "has no output EndpointName", 3),
    ("endpoint absent", refuse("invoke", call_error("ValidationError", "Endpoint music of account 1 not found.", "InvokeEndpointAsync")),
     EndpointError, "endpoint music did not take the request: Endpoint music of account 1 not found", 3),
    ("may not describe", refuse("describe", call_error("AccessDenied", NO.format("cloudformation:DescribeStacks"), "DescribeStacks", 403)),
     PermissionMissing, "permission cloudformation:DescribeStacks is missing for stack MusicGen-test", 4),
    ("may not invoke", refuse("invoke", call_error("AccessDeniedException", NO.format("sagemaker:InvokeEndpointAsync"), "InvokeEndpointAsync", 403)),
     PermissionMissing, "permission sagemaker:InvokeEndpointAsync is missing for music", 4),
    ("may not read or list", refuse("get", call_error("AccessDenied", "Access Denied", "GetObject", 403)),
     PermissionMissing, "permission s3:GetObject or s3:ListBucket", 4),
    ("clock skew", refuse("invoke", call_error("InvalidSignatureException", "Signature expired: 20260101T000000Z is now earlier", "InvokeEndpointAsync", 403)),
     AccessError, "this machine's clock is wrong", 4),
    ("clock skew in S3", refuse("get", call_error("RequestTimeTooSkewed", "too large", "GetObject", 403)), AccessError, "clock is wrong", 4),
    ("expired token", refuse("invoke", call_error("ExpiredTokenException", "expired", "InvokeEndpointAsync", 403)),
     AccessError, "AWS does not accept the credentials: ExpiredTokenException", 4),
    ("no credentials", refuse("describe", NoCredentialsError()), AccessError, "there are no AWS credentials", 4),
    ("throttled for long", refuse("invoke", call_error("ThrottlingException", "Rate exceeded", "InvokeEndpointAsync")),
     ServiceError, "AWS throttles InvokeEndpointAsync; try again with a lower rate", 4),
    ("no network", refuse("invoke", EndpointConnectionError(endpoint_url="https://x")), ServiceError, "AWS could not be reached", 4),
    ("S3 keeps failing", refuse("get", IncompleteReadError(actual_bytes=1, expected_bytes=2)), ServiceError, "could not be read in 5 attempts", 4),
    ("S3 failing", refuse("get", call_error("InternalError", "We encountered an internal error", "GetObject", 500)), ServiceError, "InternalError", 4),
    ("newer contract", answer(b'{"contract": 2}'), ContractError, "must have contract 1, got 2; this client is older: upgrade", 3),
    ("older contract", answer(b'{"contract": 0}'), ContractError, "must have contract 1, got 0; the endpoint is older", 3),
    ("another container", answer(b"<html>"), ContractError, "is not one of a MusicGen container", 3),
    ("fields missing", answer(b'{"contract": 1}'), ContractError, "the response has no generated_outputs_s3, seeds", 3),
    ("corrupt audio", audio(b"RIFFjunk"), CorruptAudio, "is not a WAV file", 1),
    ("two channels of a mono model", lambda aws: setattr(aws, "clip", _stereo), CorruptAudio, "must have 1 channel, got 2", 1),
    ("truncated audio", lambda aws: setattr(aws, "clip", _cut), CorruptAudio, "must last", 1),
]  # fmt: skip


@pytest.mark.parametrize(("name", "install", "error", "message", "exit_status"), ROWS, ids=[row[0] for row in ROWS])
def test_fault_becomes_an_exception_that_says_what_to_do(
    aws: FakeAws,
    connect: Callable[..., MusicGen],
    name: str,
    install: Callable[[FakeAws], None],
    error: type[MusicGenError],
    message: str,
    exit_status: int,
) -> None:
    install(aws)
    with pytest.raises(MusicGenError) as raised:
        connect().generate("x", duration=0.5)
    assert type(raised.value) is error or (error is ServiceError and isinstance(raised.value, ServiceError))
    assert message in str(raised.value)
    assert raised.value.exit_status == exit_status


def test_failed_endpoint_shows_its_reason(connect: Callable[..., MusicGen]) -> None:
    def describe_endpoint(**_: Any) -> dict[str, str]:
        return {"EndpointStatus": "Failed", "FailureReason": "no capacity"}

    music = connect()
    music.clients.sagemaker.describe_endpoint = describe_endpoint
    with pytest.raises(EndpointError, match="endpoint music has failed: no capacity"):
        music.status()


def test_object_that_breaks_off_midway_is_read_again(music: MusicGen, aws: FakeAws) -> None:
    broken: list[str] = []

    class Breaking(io.BytesIO):
        def read(self, *_: Any) -> bytes:
            broken.append("x")
            raise IncompleteReadError(actual_bytes=1, expected_bytes=2)

    get = music.clients.s3.get_object

    def get_object(**call: Any) -> dict[str, Any]:
        found = get(**call)
        if call["Key"].endswith(".wav") and len(broken) < 3:
            found["Body"] = Breaking()
        return found

    music.clients.s3.get_object = get_object
    assert music.generate("x", duration=0.1).duration == 0.1
    assert len(broken) == 3


@pytest.mark.parametrize(
    ("error", "in_doubt"),
    [
        (ReadTimeoutError(endpoint_url="x"), True),
        (ConnectionClosedError(endpoint_url="x"), True),
        (client_error("InternalFailure", status=500), True),
        (client_error("ServiceUnavailable", status=503), True),
        (client_error("ThrottlingException", status=400), False),
        (client_error("ValidationError", status=400), False),
        (EndpointConnectionError(endpoint_url="x"), False),
        (NoCredentialsError(), False),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, bool) else str(value),
)
def test_only_an_error_that_proves_nothing_leaves_a_call_in_doubt(
    error: ClientError | BotoCoreError, in_doubt: bool
) -> None:
    with pytest.raises(MusicGenError) as raised:
        client_aws.raise_send_error(error, "music")
    assert isinstance(raised.value, SendInDoubt) == in_doubt


def test_sending_client_never_repeats_a_call_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    clients = client_aws.connect("us-east-1")
    assert clients.runtime.meta.config.retries["total_max_attempts"] == 1
    assert clients.s3.meta.config.retries["total_max_attempts"] == 5
