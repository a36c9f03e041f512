"""Where the Hugging Face inference container lies in each region."""

from infra.data import table
from infra.errors import ConfigError, did_you_mean


def known_regions() -> list[str]:
    """Regions that have the container, sorted."""
    return sorted(table("image_registries")["accounts"])


def check_region(region: str) -> None:
    """ConfigError, listing the known regions, unless the container is published in `region`."""
    known = known_regions()
    if region not in known:
        raise ConfigError(
            f"region must be one that has the Hugging Face inference container: {', '.join(known)}, "
            f"got {region}{did_you_mean(region, known)}"
        )


def registry_account(region: str) -> str:
    """The AWS account whose registry serves `region`."""
    return table("image_registries")["accounts"][region]


def repository_name() -> str:
    """The container's ECR repository, the same in every region."""
    return table("image_registries")["repository"]


def image_uri(region: str) -> str:
    """`<account>.dkr.ecr.<region>.<domain>/<repository>:<tag>`."""
    images = table("image_registries")
    domains = (domain for prefix, domain in images["domains"].items() if region.startswith(prefix))
    domain = next(domains, "amazonaws.com")
    return f"{registry_account(region)}.dkr.ecr.{region}.{domain}/{repository_name()}:{images['tag']}"
