"""Read the stack's settings from CDK context: an environment of cdk.json, and overrides with `-c`."""

from collections.abc import Mapping
from typing import Any, cast

from infra.config.images import check_region
from infra.config.setting_rules import ConfigError, did_you_mean, parse, shown
from infra.config.settings import Config, declared_settings, default_of

DEFAULT_ENVIRONMENT = "dev"
_CDK_OWN = {"acknowledged-issue-numbers", "cli-telemetry"}  # written into context files by the CDK CLI
# What people write, and the setting they mean.
_MEANT = {
    "environment": "env",
    "stage": "env",
    "kms_key": "encryption",
    "kms_key_arn": "encryption",
    "kms_key_id": "encryption",
    "model": "model_id",
    "custom_model": "model_id, model_like",
    "size_like": "model_like",
    "commit": "revision",
    "token": "token_secret_arn",
    "hf_token": "token_secret_arn",
    "boundary": "permissions_boundary",
    "email": "alarm_emails",
    "emails": "alarm_emails",
    "notification_emails": "alarm_emails, error_emails, success_emails",  # one list for all topics, until 0.1.0
    "notification_topics": "alarm_emails, error_emails, success_emails",
    "subnets": "vpc_subnet_ids",
    "security_groups": "vpc_security_group_ids",
    "timezone": "warm_up_timezone",
    "quantization": "weight_quantisation",
    "weight_quantization": "weight_quantisation",
    "dtype": "decoder_dtype",
    "instances": "max_capacity",
    "max_instances": "max_capacity",
    "concurrency": "max_concurrent_requests",
}


def from_context(context: Mapping[str, Any], *, default_region: str | None = None) -> Config:
    """Return the chosen environment of cdk.json, overridden by `-c <setting>=<value>`.

    `context` is the app's whole context. `default_region`, the region of the caller's AWS profile, applies if the
    context names none. Raises ConfigError for an unknown setting or environment and for an invalid value.
    """
    env, environment = _environment(context)
    overrides = {
        key: value
        for key, value in context.items()
        if ":" not in key and not key.startswith("@") and key not in _CDK_OWN and key != "environments"
    }
    given = {**environment, **overrides, "env": env}
    if default_region and "region" not in given:
        _check_profiles_region(default_region)
        given["region"] = default_region
    known_settings = declared_settings()
    values: dict[str, Any] = {}
    for name, raw in given.items():
        if name not in known_settings:
            meant = _MEANT.get(name.lower().replace("-", "_"))
            hint = f" (did you mean {meant}?)" if meant else did_you_mean(name, known_settings)
            raise ConfigError(f"{shown(name)[1:-1]} is not a setting{hint}; docs/configuration.md lists them all")
        values[name] = parse(name, raw, like=default_of(name), secret=known_settings[name].secret)
    config = Config(**values)
    if config.scaling == "off":
        _check_instance_types_stay(config, environment, overrides)
    return config


def _environment(context: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    """Return the chosen environment's name and its settings."""
    environments, env = context.get("environments", {}), context.get("env", DEFAULT_ENVIRONMENT)
    if not isinstance(environments, Mapping):
        raise ConfigError(f"environments must be an object of environments in cdk.json, got {shown(environments)}")
    environments = cast(Mapping[str, Any], environments)
    if not isinstance(env, str) or env not in environments:
        known = ", ".join(environments) or "none"
        raise ConfigError(f"env must be one of the environments in cdk.json, {known}, got {shown(env)}")
    if not isinstance(environments[env], Mapping):
        raise ConfigError(
            f"environments.{env} must be an object of settings in cdk.json, got {shown(environments[env])}"
        )
    return env, cast(Mapping[str, Any], environments[env])


def _check_profiles_region(region: str) -> None:
    try:
        check_region(region)
    except ConfigError as error:
        raise ConfigError(
            f"{error}; it came from your AWS profile or environment: name another with -c region=…"
        ) from error


def _check_instance_types_stay(config: Config, environment: Mapping[str, Any], overrides: Mapping[str, Any]) -> None:
    """Raise ConfigError if the deployment that turns scaling off also changes the types on the command line."""
    for name in ("instance_type", "fallback_instance_types"):
        before, after = _joined(environment.get(name, default_of(name))), _joined(getattr(config, name))
        if name not in overrides or after == before:
            continue
        deploy = f"npx cdk deploy -c env={config.env}"
        raise ConfigError(
            f"{name} must not change in the deployment that turns scaling off, got {after!r} on the command line and "
            f"{before!r} for {config.env}: SageMaker rejects other instance types while a scalable target is "
            f"registered, and CloudFormation removes the target last. Deploy twice: `{deploy} -c scaling=off`, then "
            f"`{deploy} -c {name}={after}`; or, if {after!r} is what is deployed, write it into cdk.json. Only the "
            "configuration is compared here; `make preflight` and the gate's class `two-phase` compare with what is "
            "deployed"
        )


def _joined(types: Any) -> str:
    """Return one or several instance types as they are written on the command line."""
    return types.replace(" ", "") if isinstance(types, str) else ",".join(types)
