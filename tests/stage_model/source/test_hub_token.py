"""The format of the Hub token in a secret, whose value never appears in errors."""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# boto3.client is overloaded for every service, most of them without installed stubs.

from typing import Any

import boto3
import pytest

from stage_model.errors import StagingError
from stage_model.source.hub import read_token


@pytest.fixture
def secret(s3: Any) -> Any:
    """Create a secret with this text and return its ARN."""
    manager, arns = boto3.client("secretsmanager", region_name="us-east-1"), list[str]()

    def create(text: str) -> str:
        arns.append(manager.create_secret(Name=f"token-{len(arns)}", SecretString=text)["ARN"])
        return arns[-1]

    yield create
    for arn in arns:
        manager.delete_secret(SecretId=arn, ForceDeleteWithoutRecovery=True)


@pytest.mark.parametrize("text", ["hf_abcDEF0123456789", "hf_abcDEF0123456789\n", "eyJhbGci.eyJzdWIi_x-y~+/.c2ln=="])
def test_a_token_is_stripped_of_its_newline(secret: Any, text: str) -> None:
    assert read_token(secret(text)) == text.strip()


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ('{"token":"hf_abcDEF0123456789"}', " as plain text, not key and value"),
        ('{ "token": "hf_abcDEF0123456789" }', " as plain text, not key and value"),
        ("hf_abcDEF0123456789\nhf_abcDEF0123456789", " as plain text"),
        ("Bearer hf_abcDEF0123456789", " as plain text"),
        ("hf_abc", " as plain text"),
        ("hf_" + "a" * 510, " as plain text"),
        ("hf_абвгдежзийклмн", " as plain text"),
    ],
)
def test_a_malformed_token_is_rejected_without_showing_it(secret: Any, text: str, hint: str) -> None:
    arn = secret(text)
    with pytest.raises(StagingError) as refused:
        read_token(arn)
    assert str(refused.value) == f"the secret {arn} must hold the token{hint}"


def test_a_missing_secret_is_named(secret: Any) -> None:
    arn = secret("hf_abcDEF0123456789").replace("token-0", "absent")
    with pytest.raises(StagingError, match=r"reading the secret .*absent.* failed: ResourceNotFoundException"):
        read_token(arn)
