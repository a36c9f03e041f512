"""Configuration: environments, overrides, and the message for each invalid value."""

import copy
from typing import Any

import pytest

from infra.config import Config, ConfigError, from_context, models
from infra.config.instances import GPU_FAMILIES, INSTANCE_TYPES, has_gpu
from infra.config.models import SERVED_MODELS

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def error_message(context: dict[str, Any], **overrides: Any) -> str:
    with pytest.raises(ConfigError) as error:
        from_context({**context, **overrides})
    return str(error.value)


def test_defaults_are_musicgen_large_on_a_g5_2xlarge(cdk_context: dict[str, Any]) -> None:
    config = from_context(cdk_context)
    assert (config.env, config.stack_name, config.endpoint) == ("dev", "MusicGen-dev", "musicgen-dev")
    assert (config.model_id, config.instance_type) == ("facebook/musicgen-large", "ml.g5.2xlarge")
    assert (config.max_capacity, config.removal_policy, config.region) == (1, "destroy", "us-east-1")


def test_prod_reads_cdk_json_and_retains_user_data(cdk_context: dict[str, Any]) -> None:
    config = from_context({**cdk_context, "env": "prod"})
    assert (config.stack_name, config.max_capacity, config.removal_policy) == ("MusicGen-prod", 4, "retain")


def test_command_line_overrides_the_environment_and_is_converted_to_the_fields_type(
    cdk_context: dict[str, Any],
) -> None:
    given = {"env": "prod", "max_capacity": "2", "alarm_emails": "a@example.com, b@example.com", "tags": "a=b"}
    config = from_context({**cdk_context, **given})
    assert config.max_capacity == 2
    assert config.alarm_emails == ("a@example.com", "b@example.com")
    assert config.tags == ("a=b",)


def test_profiles_region_applies_only_if_none_is_configured(cdk_context: dict[str, Any]) -> None:
    assert from_context(cdk_context, default_region="eu-west-1").region == "eu-west-1"
    chosen = from_context({**cdk_context, "region": "us-west-2"}, default_region="eu-west-1")
    assert chosen.region == "us-west-2"


def test_context_written_by_cdk_is_ignored(cdk_context: dict[str, Any]) -> None:
    written = {"aws:cdk:enable-path-metadata": True, "@aws-cdk/core:x": True, "acknowledged-issue-numbers": [1]}
    lookups = {"availability-zones:account=1:region=us-east-1": ["us-east-1a"], "cli-telemetry": False}
    assert from_context({**cdk_context, **written, **lookups}) == from_context(cdk_context)


@pytest.mark.parametrize("model_id", SERVED_MODELS)
def test_every_served_model_is_accepted_at_a_full_commit(cdk_context: dict[str, Any], model_id: str) -> None:
    assert from_context({**cdk_context, "model_id": model_id, "revision": COMMIT}).commit == COMMIT


@pytest.mark.parametrize("instance_type", list(filter(has_gpu, INSTANCE_TYPES)))
def test_every_gpu_instance_type_runs_the_default_model(cdk_context: dict[str, Any], instance_type: str) -> None:
    assert from_context({**cdk_context, "instance_type": instance_type}).instance_types == (instance_type,)


def test_every_model_without_a_melody_has_a_pinned_commit_of_its_published_branch() -> None:
    pinned = [model_id for model_id in SERVED_MODELS if "melody" not in model_id]
    assert {model_id: Config(model_id=model_id).commit for model_id in pinned} == {
        "facebook/musicgen-small": "4c8334b02c6ec4e8664a91979669a501ec497792",
        "facebook/musicgen-medium": "d3bd7b00761b78ad7a8a05145ee31e7832e9916c",
        "facebook/musicgen-large": "15ccdc92099879e47b6da12c350cdb71d4eab3ca",
        "facebook/musicgen-stereo-small": "9520631640f24f25ae1dc16e42de5c6b83c32843",
        "facebook/musicgen-stereo-medium": "d89b612ef09ea9e2e4fcd7f5fc51fba63b964c7f",
        "facebook/musicgen-stereo-large": "2be1dd44de5d8ec3097a2144dbc5922039e67fd0",
    }


def test_unknown_model_is_rejected_with_the_known_and_the_closest(cdk_context: dict[str, Any]) -> None:
    message = error_message(cdk_context, model_id="facebook/musicgen-lage")
    assert message.startswith("model_id must be one of facebook/musicgen-small, facebook/musicgen-medium, facebook/")
    assert "got facebook/musicgen-lage (did you mean facebook/musicgen-large" in message


@pytest.mark.parametrize("model_id", [model_id for model_id in SERVED_MODELS if "melody" in model_id])
def test_melody_model_needs_a_commit_and_says_where_to_find_one(cdk_context: dict[str, Any], model_id: str) -> None:
    message = error_message(cdk_context, model_id=model_id)
    assert message.startswith(f"revision must be given for {model_id}, which has no confirmed commit in infra/config/")
    assert f"https://huggingface.co/{model_id}/commits/main" in message


@pytest.mark.parametrize("env", ["dev", "prod"])
@pytest.mark.parametrize("branch", ["main", "refs/pr/18", "v1.0", "15ccdc9"])
def test_branch_or_tag_is_rejected_with_how_to_find_a_commit(
    cdk_context: dict[str, Any], env: str, branch: str
) -> None:
    message = error_message(cdk_context, env=env, revision=branch)
    assert f"revision must be a full commit, 40 hexadecimal digits, got {branch!r}: branches and tags move" in message
    assert "https://huggingface.co/facebook/musicgen-large/commits/main" in message


def test_model_without_a_confirmed_commit_requires_a_revision(
    cdk_context: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(models, "_TABLE", copy.deepcopy(models._TABLE))  # pyright: ignore[reportPrivateUsage]
    models._TABLE["models"]["facebook/musicgen-medium"]["revision"] = None  # pyright: ignore[reportPrivateUsage]
    message = error_message(cdk_context, model_id="facebook/musicgen-medium")
    assert message.startswith("revision must be given for facebook/musicgen-medium")
    assert "https://huggingface.co/api/models/facebook/musicgen-medium/revision/main" in message


@pytest.mark.parametrize(
    ("instance_type", "reason"),
    [
        (
            "ml.m5.xlarge",
            "add its vCPUs and memory, and the memory bandwidth of the family m5 to infra/config/",
        ),
        (
            "ml.c7i.large",
            "add its vCPUs and memory to infra/config/instances.json and its price to infra/config/",
        ),
        ("ml.c7g.4xlarge", "it has an ARM processor, and the container images are for x86-64"),
        ("ml.p4d.24xlarge", "and its price to infra/config/prices.json, and the InferenceAmiVersion of the family p4d"),
        ("ml.g5.2xlage", "got ml.g5.2xlage (did you mean ml.g5.2xlarge"),
    ],
)
def test_unsupported_instance_type_is_rejected_with_the_reason(
    cdk_context: dict[str, Any], instance_type: str, reason: str
) -> None:
    for setting in ("instance_type", "fallback_instance_types"):
        message = error_message(cdk_context, **{setting: instance_type})
        assert message.startswith(f"{setting} must be one of ml.g5.xlarge, ml.g5.2xlarge, ")
        assert reason in message


def test_family_without_a_known_driver_is_rejected_by_name(
    cdk_context: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(GPU_FAMILIES, "g6")
    message = error_message(cdk_context, instance_type="ml.g6.xlarge")
    assert message == (
        "instance_type must be of a family whose GPU driver is known, g5, g6e, got ml.g6.xlarge: add the "
        "InferenceAmiVersion of the family g6 to `gpu_families` of infra/config/instances.json (one with driver 550 or "
        "newer, as the container image has CUDA 12.4), with its source"
    )


def test_instance_types_that_need_different_drivers_are_rejected(
    cdk_context: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(GPU_FAMILIES["g6"], "inference_ami_version", "al2023-ami-sagemaker-inference-gpu-4-1")
    message = error_message(cdk_context, fallback_instance_types="ml.g5.xlarge,ml.g6.xlarge")
    assert message == (
        "fallback_instance_types must need the same InferenceAmiVersion as instance_type, as an endpoint's variant has "
        "one, got ml.g5.2xlarge needs al2-ami-sagemaker-inference-gpu-3-1, ml.g5.xlarge needs "
        "al2-ami-sagemaker-inference-gpu-3-1, ml.g6.xlarge needs al2023-ami-sagemaker-inference-gpu-4-1"
    )


def test_pool_of_types_with_and_without_a_gpu_is_rejected(cdk_context: dict[str, Any]) -> None:
    message = error_message(cdk_context, fallback_instance_types="ml.c7i.8xlarge")
    assert message == (
        "fallback_instance_types must all have a GPU if instance_type has one, and none if it has none, as there is "
        "one container image, got ml.g5.2xlarge, ml.c7i.8xlarge"
    )


def test_unknown_region_is_rejected_with_the_known_ones(cdk_context: dict[str, Any]) -> None:
    message = error_message(cdk_context, region="eu-wst-1")
    assert "af-south-1, ap-east-1, " in message
    assert "got eu-wst-1 (did you mean eu-west-1" in message


def test_configuration_is_frozen() -> None:
    with pytest.raises(AttributeError, match="cannot assign"):
        Config().max_capacity = 2  # pyright: ignore[reportAttributeAccessIssue]
