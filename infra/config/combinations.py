"""Which settings go together: instance types, the network, and where the model comes from."""

import re
from typing import TYPE_CHECKING

from infra.config.instances import check_instance_type, check_pool
from infra.config.models import check_commit
from infra.config.schedules import check_warm_up
from infra.config.setting_rules import ConfigError

if TYPE_CHECKING:
    from infra.config.settings import Config


def check_combination(config: "Config") -> None:
    """Raise ConfigError, with the message to show, for settings that are allowed each but not together."""
    _check_instances(config)
    _check_network(config)
    _check_source(config)
    _check_arns(config)


def check_is_no_branch(model_id: str, revision: str) -> None:
    """Raise ConfigError for what looks like a branch or a tag, and say how to find a commit."""
    if re.fullmatch(r"(?![0-9a-fA-F]{40}$)[\w./-]+", revision):
        raise ConfigError(
            f"revision must be a full commit, 40 hexadecimal digits, got {revision!r}: branches and tags "
            f"move, and what is staged must not; {how_to_find_a_commit(model_id)}"
        )


def _check_instances(config: "Config") -> None:
    """Raise ConfigError unless SageMaker accepts the types as one pool, the schedule, and the kernels the format."""
    if len(config.fallback_instance_types) > 4:
        raise ConfigError(
            "fallback_instance_types must be at most 4 instance types, SageMaker's limit in addition to the first, "
            f"got {len(config.fallback_instance_types)}"
        )
    if config.instance_type in config.fallback_instance_types:
        raise ConfigError(f"fallback_instance_types must differ from instance_type, got {config.instance_type} in both")
    for instance_type in config.fallback_instance_types:
        check_instance_type("fallback_instance_types", instance_type)
    check_instance_type("instance_type", config.instance_type)
    check_pool(config.instance_types)
    if config.device == "cuda" and config.weight_quantisation == "int8" and config.decoder_dtype != "float16":
        raise ConfigError(
            f"decoder_dtype must be float16 with weight_quantisation int8 on a GPU such as that of "
            f"{config.instance_type}, got {config.decoder_dtype!r}: the kernels for 8 bits have no other"
        )
    check_warm_up(config.warm_up_schedule, config.warm_up_end_schedule)


def _check_network(config: "Config") -> None:
    """Raise ConfigError unless SageMaker accepts the numbers of subnets and security groups, or both are zero."""
    subnets, groups = config.vpc_subnet_ids, config.vpc_security_group_ids
    if not subnets and not groups:
        return
    for name, ids, (low, high), other in (
        ("vpc_subnet_ids", subnets, (2, 16), "vpc_security_group_ids"),
        ("vpc_security_group_ids", groups, (1, 5), "vpc_subnet_ids"),
    ):
        if not low <= len(ids) <= high:
            raise ConfigError(
                f"{name} must be {low} to {high} ids, and {other} must be given with them, got {list(ids)}"
            )


def _check_source(config: "Config") -> None:
    """Raise ConfigError without a commit to stage, or for a token that would not be used."""
    if not config.revision and config.model.revision is None:
        raise ConfigError(
            f"revision must be given for {config.model_id}, which has no confirmed commit in "
            f"infra/config/models.json: {how_to_find_a_commit(config.model_id)}"
        )
    check_commit(config.model_id, config.revision)
    if config.token_secret_arn and config.s3_mirror:
        raise ConfigError(
            f"token_secret_arn must be empty where hub_endpoint is in S3, got {config.token_secret_arn!r}"
        )


def _check_arns(config: "Config") -> None:
    """Raise ConfigError for a secret or key of another region, or a permissions boundary of another account."""
    arn = config.token_secret_arn
    if arn and arn.split(":")[3] != config.region:
        raise ConfigError(f"token_secret_arn must be of a secret in the stack's region {config.region}, got {arn!r}")
    owner = config.permissions_boundary.split(":")[4:5]
    if config.account and owner and owner[0] not in (config.account, "aws"):
        raise ConfigError(
            f"permissions_boundary must be of the account {config.account} or AWS's, "
            f"got {config.permissions_boundary!r}"
        )
    key = config.bootstrap_kms_key_arn
    if key and key.split(":")[3] != config.region:
        raise ConfigError(f"bootstrap_kms_key_arn must be of a key in the stack's region {config.region}, got {key!r}")


def how_to_find_a_commit(model_id: str) -> str:
    """Return where a model's commits are listed, for the end of a message."""
    return (
        f"open https://huggingface.co/{model_id}/commits/main, or read `sha` at "
        f"https://huggingface.co/api/models/{model_id}/revision/main, and choose a commit that holds weights"
    )
