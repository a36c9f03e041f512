"""Where the model comes from and how it is staged: from a mirror in S3, with a token, file by file."""

import json
from collections.abc import Callable
from typing import Any, cast

import pytest
from aws_cdk.assertions import Template

Synthesise = Callable[..., Template]
Plain = Callable[[Any], str]

SECRET = "arn:aws:secretsmanager:us-east-1:123456789012:secret:team/hub-token-AbCdEf"


def properties(template: Template, resource_type: str) -> dict[str, Any]:
    """The properties of the one resource of a type."""
    (found,) = template.find_resources(resource_type).values()
    return found["Properties"]


def statements(template: Template, holder: str, service: str) -> list[dict[str, Any]]:
    """What a role's policies say about a service."""
    policies = template.find_resources("AWS::IAM::Policy")
    found = (
        s for k, p in policies.items() if k.startswith(holder) for s in p["Properties"]["PolicyDocument"]["Statement"]
    )
    return [statement for statement in found if f"{service}:" in str(statement["Action"])]


def test_files_are_served_from_their_prefix(synthesise: Synthesise) -> None:
    template = synthesise(packaging="uncompressed")
    assert properties(template, "Custom::StagedModel")["Packaging"] == "uncompressed"
    container = properties(template, "AWS::SageMaker::Model")["PrimaryContainer"]
    (staged,) = template.find_resources("Custom::StagedModel")
    assert "ModelDataUrl" not in container
    assert container["ModelDataSource"]["S3DataSource"] == {
        "S3Uri": {"Fn::GetAtt": [staged, "ModelDataUrl"]},
        "S3DataType": "S3Prefix",
        "CompressionType": "None",
    }


def test_listing_is_allowed_where_files_are_served_and_under_the_models_prefix_alone(
    synthesise: Synthesise, plain: Plain
) -> None:
    (listing,) = (
        s
        for s in statements(synthesise(packaging="uncompressed"), "AsyncEndpoint", "s3")
        if s["Action"] == "s3:ListBucket"
    )
    assert plain(listing["Resource"]) == "<StorageArtifactBucket>"
    assert listing["Condition"] == {"StringLike": {"s3:prefix": ["models/MusicGen-dev/StagedModel/*"]}}
    assert "s3:ListBucket" not in json.dumps(statements(synthesise(), "AsyncEndpoint", "s3"))


def test_token_is_read_from_the_one_secret_and_is_in_no_template(synthesise: Synthesise) -> None:
    template = synthesise(token_secret_arn=SECRET)
    assert properties(template, "Custom::StagedModel")["TokenSecretArn"] == SECRET
    (statement,) = statements(template, "StagedModel", "secretsmanager")
    assert (statement["Action"], statement["Resource"]) == ("secretsmanager:GetSecretValue", SECRET)
    assert "hf_" not in json.dumps(template.to_json())
    assert "secretsmanager" not in json.dumps(synthesise().to_json())


def listed(statement: dict[str, Any]) -> str | None:
    """The one prefix that a statement's condition allows to be listed."""
    condition = statement.get("Condition")
    return condition["StringLike"]["s3:prefix"][0] if condition else None


def as_list(value: Any) -> list[Any]:
    return cast(list[Any], value) if isinstance(value, list) else [value]


@pytest.mark.parametrize("prefix", ["", "/mirrors/hub"])
def test_mirror_in_s3_is_read_under_the_commits_prefix_alone(synthesise: Synthesise, plain: Plain, prefix: str) -> None:
    template = synthesise(
        hub_endpoint=f"s3://team-models{prefix}", model_id="facebook/musicgen-small", revision="a" * 40
    )
    (function,) = (
        f["Properties"]["Environment"]["Variables"]
        for k, f in template.find_resources("AWS::Lambda::Function").items()
        if k.startswith("StagedModel")
    )
    assert function["HF_ENDPOINT"] == f"s3://team-models{prefix}"
    read = [
        (statement["Action"], plain(resource), listed(statement))
        for statement in statements(template, "StagedModel", "s3")
        for resource in as_list(statement["Resource"])
        if "team-models" in plain(resource)
    ]
    folder = f"facebook/musicgen-small/{'a' * 40}/*"
    objects, bucket = f"arn:aws:s3:::team-models{prefix}/{folder}", "arn:aws:s3:::team-models"
    assert read == [("s3:GetObject", objects, None), ("s3:ListBucket", bucket, f"{prefix}/{folder}".lstrip("/"))]
