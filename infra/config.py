"""The stack's configuration: one frozen object, every field documented, checked against what AWS and the GPU allow."""

from dataclasses import dataclass, fields
from typing import Any

from infra import sizing
from infra.account_settings import AccountSettings
from infra.fleet_settings import FleetSettings
from infra.images import check_region
from infra.model_settings import ModelSettings
from infra.settings import Setting, between, matches, one_of, setting

_BUCKET = matches(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", "names of S3 buckets")
_EMAIL = matches(r"[^@\s,]{1,64}@[^@\s,]{1,190}", "e-mail addresses")
# Capital letters are legal, but SageMaker writes them small in ARNs, and policies that name the endpoint then miss it.
_ENDPOINT = matches(r"([a-z0-9](-*[a-z0-9]){0,62})?", "up to 63 lower-case letters, digits and inner hyphens")


@dataclass(frozen=True, kw_only=True)
class Config(AccountSettings, FleetSettings, ModelSettings):
    """Everything that the stack can be told: what follows and the settings of its base classes.

    Raises ConfigError, with the sentence to show, for what cannot work.
    """

    input_retention_days: int = setting(7, "Days until an input expires.", between(1, 3650))
    output_retention_days: int = setting(30, "Days until audio, results and failures expire.", between(1, 3650))
    log_retention_days: int = setting(
        30,
        "Days that logs are kept; CloudWatch offers only certain numbers.",
        one_of(1, 3, 5, 7, 14, 30, 60, 90, 180, 365),
    )
    removal_policy: str = setting(
        "destroy",
        "What `cdk destroy` does with the input and output buckets: empties and deletes them, or leaves them.",
        one_of("destroy", "retain"),
    )
    notification_emails: tuple[str, ...] = setting(
        (), "Addresses that get the success, error and alarm messages; each must confirm by e-mail.", _EMAIL
    )
    external_buckets: tuple[str, ...] = setting(
        (), "Further buckets that a request may name for its audio, under `audio/`.", _BUCKET
    )
    alarm_queue_age_seconds: int = setting(
        3600, "Age of the oldest waiting request, in seconds, that raises an alarm.", between(60, 21_600)
    )
    alarm_failed_requests: int = setting(1, "Requests failed in five minutes that raise an alarm.", between(1, 10_000))
    alarm_wake_minutes: int = setting(
        20, "Minutes with waiting requests and no instance that raise an alarm: waking failed.", between(5, 120)
    )
    alarm_idle_minutes: int = setting(
        30, "Minutes with an instance and no request that raise an alarm: scaling in failed.", between(20, 120)
    )
    endpoint_name: str = setting("", "The endpoint's name; empty: the stack's, in lower case.", _ENDPOINT)

    def __post_init__(self) -> None:
        self.check_name_of_revision()
        for name, declared in declared_settings().items():
            declared.check(name, getattr(self, name))
        check_region(self.region)
        self.check_fleet()
        self.check_network()
        self.check_commit()
        self.check_token()
        for instance_type in self.instance_types:
            sizing.check_gpu_memory(
                self.model,
                decoder_dtype=self.decoder_dtype,
                requests=self.max_concurrent_requests,
                instance_type=instance_type,
            )

    @property
    def stack_name(self) -> str:
        """`MusicGen-<env>`."""
        return f"MusicGen-{self.env}"

    @property
    def endpoint(self) -> str:
        """The endpoint's name."""
        return self.endpoint_name or self.stack_name.lower()

    @property
    def staged_bytes(self) -> int:
        """Size of the staged weights."""
        return sizing.staged_bytes(self.model, self.decoder_dtype)


def declared_settings() -> dict[str, Setting]:
    """Every field of Config in order, with what it carries."""
    return {item.name: item.metadata["setting"] for item in fields(Config)}


def default_of(name: str) -> Any:
    """A field's default value."""
    return next(item.default for item in fields(Config) if item.name == name)
