"""The limits of InvokeEndpointAsync, parameter by parameter."""

from typing import Any

import pytest

from conformance.behaviour import documented
from local_aws.sagemaker.endpoint_config import EndpointConfig
from local_aws.sagemaker.requests.invocation_request import InvalidInvocation, parse_invocation

INVOKE = "https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_runtime_InvokeEndpointAsync.html"

PREFIX = "X-Amzn-SageMaker-"


@pytest.mark.parametrize(
    ("headers", "body", "message"),
    [
        (
            {"RequestTTLSeconds": "21601"},
            b"{}",
            "'requestTTLSeconds' failed to satisfy constraint: Member must have value less",
        ),
        (
            {"RequestTTLSeconds": "59"},
            b"{}",
            "'requestTTLSeconds' failed to satisfy constraint: Member must have value greater",
        ),
        (
            {"RequestTTLSeconds": "1e3"},
            b"{}",
            "'requestTTLSeconds' failed to satisfy constraint: Member must be an integer",
        ),
        ({"InvocationTimeoutSeconds": "3601"}, b"{}", "'invocationTimeoutSeconds' failed to satisfy constraint"),
        ({"InvocationTimeoutSeconds": "0"}, b"{}", "'invocationTimeoutSeconds' failed to satisfy constraint"),
        ({"Inference-Id": "x" * 65}, b"{}", "'inferenceId' failed to satisfy constraint: Member must have length less"),
        ({"Inference-Id": ""}, b"{}", "'inferenceId' failed to satisfy constraint: Member must have length greater"),
        ({"Inference-Id": " x"}, b"{}", "'inferenceId' failed to satisfy constraint: Member must satisfy regular"),
        ({"Custom-Attributes": "x" * 1025}, b"{}", "'customAttributes' failed to satisfy constraint"),
        ({"Custom-Attributes": "\xe9"}, b"{}", "'customAttributes' failed to satisfy constraint"),
        (
            {},
            b"x" * 128_001,
            "'body' failed to satisfy constraint: Member must have length less than or equal to 128000",
        ),
        ({}, b"", "Exactly one of Body and InputLocation must be provided, got neither"),
        ({"InputLocation": "s3://a/b"}, b"{}", "Exactly one of Body and InputLocation must be provided, got both"),
        ({"InputLocation": "ftp://a/b"}, b"", "'inputLocation' failed to satisfy constraint"),
        ({"InputLocation": "https://a/b"}, b"", "InputLocation must be an s3:// URL"),
        ({"Filename": "../up"}, b"{}", "'filename' failed to satisfy constraint"),
        ({"Filename": "a.b.c"}, b"{}", "'filename' failed to satisfy constraint"),
        ({"S3OutputPathExtension": "s3://other"}, b"{}", "'s3OutputPathExtension' failed to satisfy constraint"),
        ({"S3OutputPathExtension": "a?b"}, b"{}", "'s3OutputPathExtension' failed to satisfy constraint"),
    ],
)
def test_value_beyond_its_limit_is_refused_with_aws_message(
    config: EndpointConfig, headers: dict[str, str], body: bytes, message: str
) -> None:
    named = {PREFIX + name: value for name, value in headers.items()}
    with pytest.raises(InvalidInvocation, match=message.replace("(", r"\(")):
        parse_invocation(named, body, config, now=0)


def test_values_at_their_limits_are_accepted(config: EndpointConfig) -> None:
    headers = {PREFIX + "RequestTTLSeconds": "60", PREFIX + "InvocationTimeoutSeconds": "3600"}
    request: Any = parse_invocation(headers, b"x" * 128_000, config, now=5)
    assert (request.expires_at, request.invocation_timeout) == (65, 3600)


@documented(INVOKE)
def test_defaults_are_those_of_aws(config: EndpointConfig) -> None:
    """RequestTTLSeconds: the default is 21,600 seconds. InvocationTimeoutSeconds: the default is 900 seconds."""
    request = parse_invocation({}, b"{}", config, now=0)
    assert (request.expires_at, request.invocation_timeout) == (21_600, 900)
    assert request.failure_location is None
