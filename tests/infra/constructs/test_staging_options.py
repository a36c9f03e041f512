"""Options of the staged model: a mirror in S3, a token for the Hub, individual files instead of a tarball."""

import json
from typing import Any

import pytest

from infra.config import from_context
from infra.config.models import find_model
from tests.infra.templates import Synthesise, as_list, plain, policy_statements, properties

SECRET = "arn:aws:secretsmanager:us-east-1:123456789012:secret:team/hub-token-AbCdEf"


def listed_prefix(statement: dict[str, Any]) -> str | None:
    """Return the one prefix that a statement's condition allows to list."""
    condition = statement.get("Condition")
    return condition["StringLike"]["s3:prefix"][0] if condition else None


def test_uncompressed_model_is_loaded_from_its_prefix(synthesise: Synthesise) -> None:
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


def test_only_an_uncompressed_model_allows_listing_and_only_its_prefix(synthesise: Synthesise) -> None:
    (listing,) = (
        s
        for s in policy_statements(synthesise(packaging="uncompressed"), "AsyncEndpoint", "s3")
        if s["Action"] == "s3:ListBucket"
    )
    assert plain(listing["Resource"]) == "<StorageArtifactBucket>"
    assert listing["Condition"] == {"StringLike": {"s3:prefix": ["models/MusicGen-dev/StagedModel/*"]}}
    assert "s3:ListBucket" not in json.dumps(policy_statements(synthesise(), "AsyncEndpoint", "s3"))


def test_token_is_read_from_one_secret_and_is_in_no_template(synthesise: Synthesise) -> None:
    template = synthesise(token_secret_arn=SECRET)
    assert properties(template, "Custom::StagedModel")["TokenSecretArn"] == SECRET
    (statement,) = policy_statements(template, "StagedModel", "secretsmanager")
    assert (statement["Action"], statement["Resource"]) == ("secretsmanager:GetSecretValue", SECRET)
    assert "hf_" not in json.dumps(template.to_json())
    assert "secretsmanager" not in json.dumps(synthesise().to_json())


@pytest.mark.parametrize("prefix", ["", "/mirrors/hub"])
def test_mirror_in_s3_is_read_only_under_the_commits_prefix(synthesise: Synthesise, prefix: str) -> None:
    template = synthesise(
        hub_endpoint=f"s3://team-models{prefix}", model_id="facebook/musicgen-small", revision="a" * 40
    )
    function = properties(template, "AWS::Lambda::Function", "StagedModel")
    assert function["Environment"]["Variables"]["HF_ENDPOINT"] == f"s3://team-models{prefix}"
    read = [
        (statement["Action"], plain(resource), listed_prefix(statement))
        for statement in policy_statements(template, "StagedModel", "s3")
        for resource in as_list(statement["Resource"])
        if "team-models" in plain(resource)
    ]
    folder = f"facebook/musicgen-small/{'a' * 40}/*"
    objects, bucket = f"arn:aws:s3:::team-models{prefix}/{folder}", "arn:aws:s3:::team-models"
    assert read == [("s3:GetObject", objects, None), ("s3:ListBucket", bucket, f"{prefix}/{folder}".lstrip("/"))]


CUSTOM = {"model_id": "me/my-musicgen", "model_like": "facebook/musicgen-small", "revision": "b" * 40}
COMPANION = "facebook/musicgen-small/4c8334b02c6ec4e8664a91979669a501ec497792/*"


def test_custom_model_is_staged_with_the_size_and_companion_of_published_ones(synthesise: Synthesise) -> None:
    staged = properties(synthesise(**CUSTOM), "Custom::StagedModel")
    assert (staged["ModelId"], staged["Revision"]) == ("me/my-musicgen", "b" * 40)
    assert staged["Custom"] == {
        "Like": "facebook/musicgen-small",
        "Layers": "24",
        "HiddenSize": "1024",
        "AudioChannels": "1",
        "DecoderElements": "421681152",
        "OtherElements": "169406094",
        "ChromaFrames": "0",
        "CompanionModelId": "facebook/musicgen-small",
        "CompanionRevision": "4c8334b02c6ec4e8664a91979669a501ec497792",
    }
    assert "Custom" not in properties(synthesise(), "Custom::StagedModel")


def test_custom_melody_model_is_staged_with_the_chroma_of_the_published_one(synthesise: Synthesise) -> None:
    custom = {**CUSTOM, "model_like": "facebook/musicgen-stereo-melody"}
    staged = properties(synthesise(**custom), "Custom::StagedModel")["Custom"]
    sizes = ("Like", "HiddenSize", "AudioChannels", "ChromaFrames", "DecoderElements")
    assert tuple(staged[name] for name in sizes) == (custom["model_like"], "1536", "2", "235", "1412742144")


def test_custom_model_in_s3_adds_reading_of_its_companions_commit_only(synthesise: Synthesise) -> None:
    template = synthesise(hub_endpoint="s3://team-models/hub", **CUSTOM)
    read = {
        (
            statement["Action"],
            plain(resource),
            *(statement.get("Condition", {}).get("StringLike", {}).get("s3:prefix", [])),
        )
        for statement in policy_statements(template, "StagedModel", "s3")
        for resource in as_list(statement["Resource"])
        if "team-models" in plain(resource)
    }
    own = f"me/my-musicgen/{'b' * 40}/*"
    assert read == {
        ("s3:GetObject", f"arn:aws:s3:::team-models/hub/{own}"),
        ("s3:GetObject", f"arn:aws:s3:::team-models/hub/{COMPANION}"),
        ("s3:ListBucket", "arn:aws:s3:::team-models", f"hub/{own}", f"hub/{COMPANION}"),
    }


def test_custom_model_is_sized_as_the_one_it_is_like_with_time_for_float32(cdk_context: dict[str, Any]) -> None:
    """A fine-tuned decoder may have values that float16 would change, and is then staged in float32."""
    custom = from_context({**cdk_context, **CUSTOM})
    like = from_context({**cdk_context, "model_id": CUSTOM["model_like"]})
    assert custom.concurrent_requests == like.concurrent_requests
    assert custom.capacity(custom.instance_type).weight_bytes == like.capacity(like.instance_type).weight_bytes
    assert custom.staged_bytes == find_model("facebook/musicgen-small").staged_bytes("float32") > like.staged_bytes
    stereo = from_context({**cdk_context, **CUSTOM, "model_like": "facebook/musicgen-stereo-small"})
    assert stereo.staged_bytes == 2 * find_model("facebook/musicgen-stereo-small").staged_bytes("float32")
