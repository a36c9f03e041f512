"""The Hugging Face inference container: its image in each region."""

import json
from pathlib import Path
from typing import Any

from infra.config.setting_rules import ConfigError, did_you_mean

_TABLE: dict[str, Any] = json.loads(Path(__file__).with_name("image_registries.json").read_text(encoding="utf-8"))

REPOSITORY: str = _TABLE["repository"]  # the ECR repository, the same in every region
REGISTRY_ACCOUNTS: dict[str, str] = _TABLE["accounts"]  # by region


def check_region(region: str) -> None:
    """Raise ConfigError, with the known regions, unless the container is published in `region`."""
    if region.lower() != region and region.lower() in REGISTRY_ACCOUNTS:
        raise ConfigError(f"region must be written in lower case, {region.lower()}, got {region}")
    if region not in REGISTRY_ACCOUNTS:
        raise ConfigError(
            f"region must be one that has the Hugging Face inference container: "
            f"{', '.join(sorted(REGISTRY_ACCOUNTS))}, got {region}{did_you_mean(region, REGISTRY_ACCOUNTS)}"
        )


def image_uri(region: str, device: str) -> str:
    """Return `<account>.dkr.ecr.<region>.<domain>/<repository>:<tag>` of the image for `cuda` or `cpu`."""
    domains = (domain for prefix, domain in _TABLE["domains"].items() if region.startswith(prefix))
    domain = next(domains, "amazonaws.com")
    return f"{REGISTRY_ACCOUNTS[region]}.dkr.ecr.{region}.{domain}/{REPOSITORY}:{_TABLE['tags'][device]}"
