"""Settings: the instances that serve, how many, and when."""

from dataclasses import dataclass

from infra.errors import ConfigError
from infra.instances import check_instance_type
from infra.settings import Rule, between, matches, setting

_INSTANCE = Rule("an instance type of infra/instances.json", bool)
_CRON = matches(r"(cron\([0-9A-Z*?,/#-]+( [0-9A-Z*?,/#-]+){5}\))?", "`cron(…)` with six fields")


@dataclass(frozen=True, kw_only=True)
class FleetSettings:
    """Instance types, bounds and pace of scaling."""

    instance_type: str = setting("ml.g5.2xlarge", "The GPU instance that serves.", _INSTANCE)
    fallback_instance_types: tuple[str, ...] = setting(
        (),
        "Instance types to take, in this order, while AWS has none of the first free.",
        Rule("at most 4 instance types, SageMaker's limit beside the first", lambda types: len(types) <= 4),
    )
    provision_timeout_seconds: int = setting(
        1800, "How long SageMaker may look for a free instance before a deployment fails.", between(300, 3600)
    )
    max_capacity: int = setting(1, "Instances at most; at least there are none.", between(1, 100))
    max_concurrent_requests: int = setting(
        4, "Requests in flight on one instance; their key-value caches must fit the GPU.", between(1, 64)
    )
    target_backlog_per_instance: int = setting(
        4, "Requests waiting or running per instance that scaling aims at.", between(1, 10_000)
    )
    scale_in_cooldown_seconds: int = setting(300, "Pause after an instance was removed.", between(0, 3600))
    scale_out_cooldown_seconds: int = setting(300, "Pause after an instance was added.", between(0, 3600))
    warm_up_schedule: str = setting(
        "", "When an instance starts to be kept ready, as `cron(45 8 ? * MON-FRI *)`; empty: never.", _CRON
    )
    warm_up_end_schedule: str = setting(
        "", "When the endpoint may go back to no instance; needed with `warm_up_schedule`.", _CRON
    )
    warm_up_timezone: str = setting(
        "UTC",
        "Time zone of both schedules, which keep to its summer time.",
        matches(r"[A-Za-z]+([/_+-][A-Za-z0-9]+)*", "a name such as Europe/Berlin"),
    )

    @property
    def instance_types(self) -> tuple[str, ...]:
        """The instance types that may serve, the preferred one first."""
        return (self.instance_type, *self.fallback_instance_types)

    @property
    def warm_instances(self) -> int:
        """Instances that a schedule keeps ready, work or none."""
        return 1 if self.warm_up_schedule else 0

    def check_fleet(self) -> None:
        """ConfigError for an instance type that cannot serve, or a schedule without its counterpart."""
        for instance_type in self.fallback_instance_types:
            check_instance_type("fallback_instance_types", instance_type)
        check_instance_type("instance_type", self.instance_type)
        given = (self.warm_up_schedule, self.warm_up_end_schedule)
        if any(given) and not all(given):
            raise ConfigError(
                f"warm_up_schedule and warm_up_end_schedule must both be given or both be empty, got {given[0]!r} and "
                f"{given[1]!r}"
            )
