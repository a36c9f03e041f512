"""From CDK context to Config: the chosen environment in cdk.json, overridden by `-c field=value`."""

from collections.abc import Mapping
from typing import Any

from infra.config import Config, declared_settings, default_of
from infra.errors import ConfigError, did_you_mean
from infra.settings import parse

DEFAULT_ENVIRONMENT = "dev"
_CDK_OWN = {"acknowledged-issue-numbers", "cli-telemetry"}  # what the CDK CLI itself writes into context files


def from_context(context: Mapping[str, Any], *, default_region: str | None = None) -> Config:
    """The configuration that the app's whole context describes.

    `default_region` is the region of the caller's AWS profile: it stands in where the context names none. Raises
    ConfigError for a field that does not exist, an environment that cdk.json lacks and any value that cannot be used.
    """
    environments = context.get("environments", {})
    env = context.get("env", DEFAULT_ENVIRONMENT)
    if env not in environments:
        known = ", ".join(environments) or "none"
        raise ConfigError(f"env must be one of the environments in cdk.json, {known}, got {env!r}")
    overrides = {key: value for key, value in context.items() if _is_ours(key)}
    region = {"region": default_region} if default_region else {}
    return _build({**region, **environments[env], **overrides, "env": env})


def _is_ours(key: str) -> bool:
    belongs_to_cdk = ":" in key or key.startswith("@") or key in _CDK_OWN
    return not belongs_to_cdk and key != "environments"


def _build(raw: Mapping[str, Any]) -> Config:
    known = declared_settings()
    for name in raw:
        if name not in known:
            raise ConfigError(
                f"{name} is not a setting{did_you_mean(name, known)}; docs/configuration.md lists them all"
            )
    values: dict[str, Any] = {name: parse(name, value, like=default_of(name)) for name, value in raw.items()}
    return Config(**values)
