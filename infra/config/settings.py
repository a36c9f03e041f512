"""Every setting of the stack: its default, what it may be, and what it means."""

from dataclasses import dataclass, fields
from typing import Any, cast

from infra.config import value_rules
from infra.config.capacity import MAX_CLIP_SECONDS, InstanceCapacity
from infra.config.combinations import check_combination, check_is_no_branch
from infra.config.images import REGISTRY_ACCOUNTS, check_region
from infra.config.instances import INSTANCE_TYPES, has_gpu
from infra.config.models import COMPANION, SERVED_MODELS, Model, find_model
from infra.config.schedules import cron, time_zone, weekly_windows
from infra.config.setting_rules import Rule, Setting, auto_or, between, matches, one_of, setting, several
from infra.config.version import version

# https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_PutRetentionPolicy.html
_RETENTION_DAYS = (
    *(1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731),
    *(1096, 1827, 2192, 2557, 2922, 3288, 3653),
)


@dataclass(frozen=True, kw_only=True)
class Config:
    """The stack's settings, checked against what AWS accepts and the instance's memory.

    Raises ConfigError, with the message to show, for a combination that cannot be deployed.
    """

    env: str = setting(
        "dev",
        "The environment of cdk.json; it names the stack, `MusicGen-<env>`.",
        matches(r"[a-z][a-z0-9-]{0,30}", "1 to 31 lower-case letters, digits and hyphens"),
        heading="Environment and account",
    )
    region: str = setting(
        "us-east-1",
        "The AWS region; if not given, the region of the AWS profile that the CDK CLI uses.",
        Rule(
            f"one of {', '.join(sorted(REGISTRY_ACCOUNTS))}", bool
        ),  # checked by `check_region`, as models and types are elsewhere
    )
    account: str = setting(
        "",
        "The only AWS account to deploy to; empty: the account of the current credentials.",
        matches(r"([0-9]{12})?", "12 digits"),
    )

    model_id: str = setting(
        "facebook/musicgen-large",
        "The model's id on the Hugging Face Hub; with `model_like` also that of a model of your own.",
        Rule(f"one of {', '.join(SERVED_MODELS)}", bool),
        heading="Model",
    )
    model_like: str = setting(
        "",
        "For a model of your own: the published model that is as large. Staging refuses a larger one.",
        Rule("one of those of `model_id`", lambda _: True),  # checked by __post_init__, with the model
    )
    revision: str = setting(
        "",
        "The commit on the Hub to stage; empty: the one that was confirmed to work.",
        matches(r"([0-9a-f]{40})?", "a full commit, 40 hexadecimal digits in lower case"),
    )
    decoder_dtype: str = setting(
        "float16",
        "The dtype in which the decoder's weights are staged and kept; float16 is lossless: they were published in it.",
        one_of("float16", "float32"),
    )
    weight_quantisation: str = setting(
        "none",
        "int8: the decoder's layers are kept and read as 8-bit integers, at the price of an error in the logits.",
        one_of("none", "int8"),
    )
    packaging: str = setting(
        "tarball",
        "What is staged: one model.tar.gz, or individual files, which an instance need not unpack.",
        one_of("tarball", "uncompressed"),
    )
    hub_endpoint: str = setting(
        "https://huggingface.co",
        "Where the weights come from: the Hub, a mirror that speaks its API, or a mirror in S3.",
        value_rules.HUB,
    )
    token_secret_arn: str = setting(
        "",
        "The secret that holds the Hub's token as plain text, for gated and private models; empty: none.",
        value_rules.SECRET,
        secret=True,
    )

    instance_type: str = setting(
        "ml.g5.2xlarge",
        "The instance type: with a GPU, or for smaller models without.",
        Rule(f"one of {', '.join(INSTANCE_TYPES)}", bool),
        heading="Instances and scaling",
    )
    fallback_instance_types: tuple[str, ...] = setting(
        (),
        "Instance types to use, in this order, while AWS has no capacity for the first.",
        several(Rule("at most 4 instance types, SageMaker's limit in addition to the first", bool)),
    )
    provision_timeout_seconds: int = setting(
        1800, "How long SageMaker may wait for a free instance before a deployment fails.", between(300, 3600)
    )
    max_capacity: int = setting(
        1, "Maximum number of instances; the minimum is zero. The quota must be one higher.", between(1, 100)
    )
    max_concurrent_requests: int | None = setting(
        None,
        "Concurrent requests on one instance; auto: as many clips of `clip_seconds` as it holds (docs/capacity.md).",
        auto_or(between(1, 64)),
    )
    clip_seconds: int = setting(
        MAX_CLIP_SECONDS,
        "Length of clip that concurrency is derived for and checked against; longer ones are served too, and may wait.",
        between(1, MAX_CLIP_SECONDS),
    )
    target_backlog_per_instance: int | None = setting(
        None,
        "Target number of requests, waiting or running, per instance; auto: the number of concurrent requests.",
        auto_or(between(1, 10_000)),
    )
    scale_in_cooldown_seconds: int = setting(300, "Pause after an instance was removed.", between(0, 3600))
    scale_out_cooldown_seconds: int = setting(300, "Pause after an instance was added.", between(0, 3600))
    scaling: str = setting(
        "on",
        "off: no scalable target, scaling policies and alarms on scaling: the first of the two deployments that change "
        "the instance type.",
        one_of("on", "off"),
    )
    retain_variant_properties: str = setting(
        "no",
        "yes: an update starts the new fleet with as many instances as the old one has; no: with one.",
        one_of("no", "yes"),
    )
    warm_up_schedule: str = setting(
        "", "From when one instance is kept ready, in `warm_up_timezone`; empty: never.", cron()
    )
    warm_up_end_schedule: str = setting(
        "", "From when the endpoint may scale to zero again; required with `warm_up_schedule`.", cron()
    )
    warm_up_timezone: str = setting(
        "UTC",
        "Time zone of both schedules; daylight saving time is observed.",
        time_zone(),
    )

    encryption: str = setting(
        "aws-managed",
        "The key for buckets and topics: S3's own (topics: no key of the account), or a KMS key of the stack.",
        one_of("aws-managed", "customer-managed"),
        heading="Account policies",
    )
    bootstrap_kms_key_arn: str = setting(
        "",
        "Your own key of the CDK bootstrap bucket, from which staging reads the bundle; empty: a default key.",
        value_rules.KEY,
    )
    vpc_subnet_ids: tuple[str, ...] = setting(
        (),
        "Existing subnets, in two or more availability zones, for the containers; empty: SageMaker's own network.",
        value_rules.SUBNETS,
    )
    vpc_security_group_ids: tuple[str, ...] = setting(
        (),
        "Existing security groups for the containers; required with `vpc_subnet_ids`.",
        value_rules.SECURITY_GROUPS,
    )
    permissions_boundary: str = setting(
        "",
        "The managed policy that bounds every role of the stack, of the account or AWS's; empty: none.",
        value_rules.BOUNDARY,
    )
    owner: str = setting(
        "",
        "The value of the tag `owner`, such as a team or a cost centre; empty: no such tag.",
        matches(r"[\w .:/=+@-]{0,256}", "up to 256 letters, digits, spaces and _ . : / = + - @"),
    )
    tags: tuple[str, ...] = setting(
        (),
        "Tags for every resource that supports them: a list of `key=value`, or an object. They come in addition to "
        "`service`, `environment`, `version` and `owner`, and replace those of the same key.",
        value_rules.tags(),
    )

    input_retention_days: int = setting(7, "Days until an input expires.", between(1, 3650), heading="Data and alarms")
    output_retention_days: int = setting(30, "Days until audio, results and failures expire.", between(1, 3650))
    log_retention_days: int = setting(
        30,
        "Days that logs are kept; CloudWatch offers only certain numbers.",
        one_of(*_RETENTION_DAYS),
    )
    removal_policy: str = setting(
        "destroy",
        "What `cdk destroy` does with the input and output buckets and the log groups: delete them with all their "
        "data, or keep them.",
        one_of("destroy", "retain"),
    )
    termination_protection: str = setting(
        "off",
        "on: CloudFormation refuses to delete the stack until the setting is off in a deployment.",
        one_of("off", "on"),
    )
    alarm_emails: tuple[str, ...] = setting(
        (),
        "Addresses that get an e-mail when an alarm goes off and when it is over; each must confirm the subscription.",
        value_rules.ADDRESSES,
    )
    error_emails: tuple[str, ...] = setting(
        (),
        "Addresses that get an e-mail for each request that failed or expired, and SageMaker's test messages.",
        value_rules.ADDRESSES,
    )
    success_emails: tuple[str, ...] = setting(
        (),
        "Addresses that get an e-mail for each request that was answered, and SageMaker's test messages.",
        value_rules.ADDRESSES,
    )
    external_buckets: tuple[str, ...] = setting(
        (),
        "Other buckets that a request may name for its audio, under `audio/`.",
        value_rules.BUCKETS,
    )
    alarm_queue_age_seconds: int = setting(
        3600, "Age of the oldest waiting request, in seconds, that raises an alarm.", between(60, 21_600)
    )
    alarm_failed_requests: int = setting(1, "Failed requests in five minutes that raise an alarm.", between(1, 10_000))
    alarm_wake_minutes: int = setting(
        20, "Minutes with waiting requests and no instance that raise an alarm: waking failed.", between(5, 120)
    )
    alarm_idle_minutes: int = setting(
        30, "Minutes with an instance and no request that raise an alarm: scaling in failed.", between(20, 120)
    )
    alarm_instance_hours: int = setting(
        0,
        "Instance hours within a day that raise an alarm, as a budget; 0: no such alarm.",
        between(0, 2400),
    )
    endpoint_name: str = setting(
        "", "The endpoint's name; empty: the stack's name in lower case.", value_rules.ENDPOINT
    )

    def __post_init__(self) -> None:
        check_is_no_branch(self.model_id, self.revision)
        for name, declared in declared_settings().items():
            declared.check(name, getattr(self, name))
        check_region(self.region)
        check_combination(self)
        for instance_type in self.instance_types:
            self.capacity(instance_type).check(self.concurrent_requests, self.clip_seconds)

    @property
    def stack_name(self) -> str:
        """`MusicGen-<env>`."""
        return f"MusicGen-{self.env}"

    @property
    def endpoint(self) -> str:
        """The endpoint's name."""
        return self.endpoint_name or self.stack_name.lower()

    @property
    def model(self) -> Model:
        """The model's entry in the table."""
        return find_model(self.model_id, self.model_like)

    @property
    def commit(self) -> str:
        """The commit to stage: the configured revision, else the model's own."""
        return self.revision or str(self.model.revision)

    @property
    def mirrored_folders(self) -> tuple[str, ...]:
        """The prefixes in a mirror in S3 that staging reads: the model's and, of a custom one, the companion's."""
        prefix = str(self.s3_mirror).partition("/")[2]
        commits = [(self.model_id, self.commit)]
        if self.model.like is not None:
            commits.append((COMPANION, str(find_model(COMPANION).revision)))
        return tuple("/".join(part for part in (prefix, *commit) if part) + "/" for commit in commits)

    @property
    def staged_bytes(self) -> int:
        """Size of the staged weights."""
        return self.model.staged_bytes(self.decoder_dtype)

    @property
    def s3_mirror(self) -> str | None:
        """`<bucket>[/<prefix>]` of the mirror in S3 that holds the weights; None for the Hub."""
        scheme, _, location = self.hub_endpoint.partition("://")
        return location if scheme == "s3" else None

    @property
    def instance_types(self) -> tuple[str, ...]:
        """The allowed instance types, the preferred one first."""
        return (self.instance_type, *self.fallback_instance_types)

    @property
    def device(self) -> str:
        """Where the container runs the model: `cuda` or `cpu`."""
        return "cuda" if has_gpu(self.instance_type) else "cpu"

    @property
    def warnings(self) -> dict[str, str]:
        """What can be deployed and may surprise, in one sentence each, by the name of the warning."""
        found: dict[str, str] = {}
        if self.device == "cuda" and self.region.startswith(("cn-", "us-gov-", "us-iso", "me-south-1")):
            found["instance-type"] = (
                f"whether SageMaker offers {self.instance_type} for endpoints in {self.region} is not known here; "
                "`make preflight` asks the account's quota"
            )
        if not self.alarm_emails:
            found["nobody-alarmed"] = (
                "no address gets the alarms: set alarm_emails, or subscribe to the topic in AlarmTopicArn"
            )
        if self.warm_up_schedule and self.scaling == "on" and self.warm_windows is None:
            found["idle-alarm"] = (
                "the alarm IdleInstance ignores one idle instance at all times: it can tell when one is meant to be "
                "idle only for schedules by the day of the week, such as cron(45 8 ? * MON-FRI *)"
            )
        return found

    def capacity(self, instance_type: str) -> InstanceCapacity:
        """Return what an instance of a type holds of the model, and how fast it is expected to be."""
        return InstanceCapacity(
            model=self.model,
            instance_type=instance_type,
            decoder_dtype=self.decoder_dtype,
            weight_quantisation=self.weight_quantisation,
        )

    @property
    def concurrent_requests(self) -> int:
        """`max_concurrent_requests`, or if it is auto what the smallest of `instance_types` holds.

        SageMaker has one number for all of them, and so has the container.
        """
        held = (self.capacity(name).derived_requests(self.clip_seconds) for name in self.instance_types)
        return self.max_concurrent_requests or min(held)

    @property
    def target_backlog(self) -> int:
        """`target_backlog_per_instance`, or if it is auto the number of concurrent requests.

        A lower target adds instances while those that run have room, a higher one only once requests wait.
        """
        return self.target_backlog_per_instance or self.concurrent_requests

    @property
    def changed_settings(self) -> dict[str, Any]:
        """The settings that differ from their defaults, without those that say which stack it is."""
        values = {name: getattr(self, name) for name in declared_settings() if name not in ("env", "region", "account")}
        changed = {name: value for name, value in values.items() if value != default_of(name)}
        return {
            name: list(cast(tuple[Any, ...], value)) if isinstance(value, tuple) else value
            for name, value in changed.items()
        }

    @property
    def resource_tags(self) -> dict[str, str]:
        """The tags of every resource: the stack's own, unless `tags` has the key in any case, and `tags`."""
        chosen = {key: value for key, _, value in (tag.partition("=") for tag in self.tags)}
        own = {"service": "musicgen", "environment": self.env, "version": version(), "owner": self.owner}
        taken = {key.lower() for key in chosen}
        return {key: value for key, value in own.items() if value and key not in taken} | chosen

    @property
    def required_quota(self) -> int:
        """The account's quota of endpoint instances that the stack needs, for each of `instance_types`.

        A blue/green update starts the new fleet, of one instance or as many as the old one has, before it ends the old.
        """
        return self.max_capacity + (self.max_capacity if self.retain_variant_properties == "yes" else 1)

    @property
    def warm_windows(self) -> list[tuple[int, int]] | None:
        """When the schedule keeps an instance ready, in minutes of the week in UTC; None if that is not weekly."""
        if not self.warm_up_schedule:
            return []
        return weekly_windows(self.warm_up_schedule, self.warm_up_end_schedule, self.warm_up_timezone)


def declared_settings() -> dict[str, Setting]:
    """Return every field of Config, in order, with its documentation and rule."""
    return {item.name: item.metadata["setting"] for item in fields(Config)}


def default_of(name: str) -> Any:
    """Return a field's default value."""
    return next(item.default for item in fields(Config) if item.name == name)
