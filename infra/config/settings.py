"""Every setting of the stack, and how they are read from CDK context."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from infra.config.capacity import MAX_CLIP_SECONDS, InstanceCapacity
from infra.config.images import check_region
from infra.config.instances import check_instance_type, check_pool, has_gpu
from infra.config.models import Model, find_model
from infra.config.setting_rules import (
    ConfigError,
    Rule,
    Setting,
    auto_or,
    between,
    did_you_mean,
    matches,
    one_of,
    parse,
    setting,
)

DEFAULT_ENVIRONMENT = "dev"
TOPICS = ("success", "error", "alarm")
_CDK_OWN = {"acknowledged-issue-numbers", "cli-telemetry"}  # written into context files by the CDK CLI

_HUB = matches(
    r"https://[^\s/?#]+(/[^\s?#]+)*|http://127\.0\.0\.1(:\d+)?|s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[\w.-]+)*",
    "an https URL without a final slash, or s3://<bucket>/<prefix> without one",
)
_SECRET = matches(
    r"(arn:[a-z-]+:secretsmanager:[a-z0-9-]+:\d{12}:secret:[\w/+=.@-]{1,512}-[A-Za-z0-9]{6})?",
    "the whole ARN of a Secrets Manager secret, with the six characters at its end",
)
_KEY = matches(
    r"(arn:[a-z-]+:kms:[a-z0-9-]+:\d{12}:key/[A-Za-z0-9-]{1,64})?",
    "the ARN of a KMS key, arn:aws:kms:<region>:<account>:key/<id>",
)
_CRON = matches(r"(cron\([0-9A-Z*?,/#-]+( [0-9A-Z*?,/#-]+){5}\))?", "`cron(…)` with six fields")
_TAG = matches(r"(?![aA][wW][sS]:)[^=,]{1,128}=[^,]{0,256}", "`key=value` of up to 128 and 256 characters, not aws:")
# SageMaker accepts capital letters but puts lower case into ARNs, and policies that name the endpoint then miss it.
_ENDPOINT = matches(r"([a-z0-9](-*[a-z0-9]){0,62})?", "up to 63 lower-case letters, digits and inner hyphens")


@dataclass(frozen=True, kw_only=True)
class Config:
    """The stack's settings, checked against what AWS accepts and the instance's memory.

    Raises ConfigError, with the message to show, for a combination that cannot be deployed.
    """

    # Environment and account
    env: str = setting(
        "dev",
        "The environment of cdk.json; it names the stack, `MusicGen-<env>`.",
        matches(r"[a-z][a-z0-9-]{0,30}", "1 to 31 lower-case letters, digits and hyphens"),
    )
    region: str = setting(
        "us-east-1",
        "The AWS region; if not given, the region of the AWS profile that the CDK CLI uses.",
        Rule("a region of infra/config/image_registries.json", bool),  # checked by __post_init__
    )
    account: str = setting(
        "",
        "The only AWS account to deploy to; empty: the account of the current credentials.",
        matches(r"(\d{12})?", "12 digits"),
    )

    # Model
    model_id: str = setting(
        "facebook/musicgen-large",
        "The model's id on the Hugging Face Hub.",
        Rule("a served model of infra/config/models.json", bool),
    )
    revision: str = setting(
        "",
        "The commit on the Hub to stage; empty: the one in infra/config/models.json.",
        matches(r"([0-9a-f]{40})?", "a full commit, 40 hexadecimal digits"),
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
        _HUB,
    )
    token_secret_arn: str = setting(
        "", "The secret that holds the Hub's token as plain text, for gated and private models; empty: none.", _SECRET
    )

    # Instances and scaling
    instance_type: str = setting(
        "ml.g5.2xlarge",
        "The instance type: with a GPU, or for smaller models without.",
        Rule("an instance type of infra/config/instances.json", bool),
    )
    fallback_instance_types: tuple[str, ...] = setting(
        (),
        "Instance types to use, in this order, while AWS has no capacity for the first.",
        Rule("at most 4 instance types, SageMaker's limit in addition to the first", lambda types: len(types) <= 4),
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
        "", "From when one instance is kept ready, as `cron(45 8 ? * MON-FRI *)`; empty: never.", _CRON
    )
    warm_up_end_schedule: str = setting(
        "", "From when the endpoint may scale to zero again; required with `warm_up_schedule`.", _CRON
    )
    warm_up_timezone: str = setting(
        "UTC",
        "Time zone of both schedules; daylight saving time is observed.",
        matches(r"[A-Za-z]+([/_+-][A-Za-z0-9]+)*", "a name such as Europe/Berlin"),
    )

    # Account policies
    encryption: str = setting(
        "aws-managed",
        "The key for buckets and topics: S3's own (topics: no key of the account), or a KMS key of the stack.",
        one_of("aws-managed", "customer-managed"),
    )
    bootstrap_kms_key_arn: str = setting(
        "",
        "Your own key of the CDK bootstrap bucket, from which staging reads the bundle; empty: a default key.",
        _KEY,
    )
    vpc_subnet_ids: tuple[str, ...] = setting(
        (),
        "Existing subnets, in two or more availability zones, for the containers; empty: SageMaker's own network.",
        matches(r"subnet-([0-9a-f]{8}|[0-9a-f]{17})", "ids of 2 to 16 subnets"),
    )
    vpc_security_group_ids: tuple[str, ...] = setting(
        (),
        "Existing security groups for the containers; required with `vpc_subnet_ids`.",
        matches(r"sg-([0-9a-f]{8}|[0-9a-f]{17})", "ids of 1 to 5 security groups"),
    )
    permissions_boundary: str = setting(
        "",
        "Name, with its path, of the account's managed policy that bounds every role of the stack; empty: none.",
        matches(r"([\w+=,.@/-]{1,512})?", "the name of a managed policy"),
    )
    tags: tuple[str, ...] = setting((), "Tags, `key=value`, for every resource that supports them.", _TAG)

    # Data and alarms
    input_retention_days: int = setting(7, "Days until an input expires.", between(1, 3650))
    output_retention_days: int = setting(30, "Days until audio, results and failures expire.", between(1, 3650))
    log_retention_days: int = setting(
        30,
        "Days that logs are kept; CloudWatch offers only certain numbers.",
        one_of(1, 3, 5, 7, 14, 30, 60, 90, 180, 365),
    )
    removal_policy: str = setting(
        "destroy",
        "What `cdk destroy` does with the input and output buckets: empty and delete them, or keep them.",
        one_of("destroy", "retain"),
    )
    notification_emails: tuple[str, ...] = setting(
        (),
        "Addresses that get the messages of `notification_topics`; each must confirm by e-mail, once for each topic.",
        matches(r"[^@\s,]{1,64}@[^@\s,]{1,190}", "e-mail addresses"),
    )
    notification_topics: tuple[str, ...] = setting(
        TOPICS,
        "Topics that the addresses subscribe to; SageMaker also sends test messages to success and error.",
        Rule("one or more of success, error, alarm", lambda topics: bool(topics) and set(topics) <= set(TOPICS)),
    )
    external_buckets: tuple[str, ...] = setting(
        (),
        "Other buckets that a request may name for its audio, under `audio/`.",
        matches(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", "names of S3 buckets"),
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
    endpoint_name: str = setting("", "The endpoint's name; empty: the stack's name in lower case.", _ENDPOINT)

    def __post_init__(self) -> None:
        if re.fullmatch(r"(?![0-9a-f]{40}$)[\w./-]+", self.revision):
            raise ConfigError(
                f"revision must be a full commit, 40 hexadecimal digits, got {self.revision}: branches and tags move, "
                f"and what is staged must not; {self._how_to_find_a_commit()}"
            )
        for name, declared in declared_settings().items():
            declared.check(name, getattr(self, name))
        check_region(self.region)
        self._check_instances()
        self._check_network()
        self._check_source()
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
        return find_model(self.model_id)

    @property
    def commit(self) -> str:
        """The commit to stage: the configured revision, else the model's own."""
        return self.revision or str(self.model.revision)

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
    def required_quota(self) -> int:
        """The account's quota of endpoint instances that the stack needs, for each of `instance_types`.

        A blue/green update starts the new fleet, of one instance or as many as the old one has, before it ends the old.
        """
        return self.max_capacity + (self.max_capacity if self.retain_variant_properties == "yes" else 1)

    @property
    def warm_instances(self) -> int:
        """The number of instances that the schedule keeps ready."""
        return 1 if self.warm_up_schedule else 0

    def _check_instances(self) -> None:
        for instance_type in self.fallback_instance_types:
            check_instance_type("fallback_instance_types", instance_type)
        check_instance_type("instance_type", self.instance_type)
        check_pool(self.instance_types)
        if self.device == "cuda" and self.weight_quantisation == "int8" and self.decoder_dtype != "float16":
            raise ConfigError(
                f"decoder_dtype must be float16 with weight_quantisation int8 on a GPU such as that of "
                f"{self.instance_type}, got {self.decoder_dtype!r}: the kernels for 8 bits have no other"
            )
        start, end = self.warm_up_schedule, self.warm_up_end_schedule
        if bool(start) != bool(end):
            raise ConfigError(
                "warm_up_schedule and warm_up_end_schedule must both be given or both be empty, "
                f"got {start!r} and {end!r}"
            )

    def _check_network(self) -> None:
        """Raise ConfigError unless SageMaker accepts the numbers of subnets and security groups, or both are zero."""
        subnets, groups = self.vpc_subnet_ids, self.vpc_security_group_ids
        if not subnets and not groups:
            return
        for name, ids, (low, high), other in (
            ("vpc_subnet_ids", subnets, (2, 16), "vpc_security_group_ids"),
            ("vpc_security_group_ids", groups, (1, 5), "vpc_subnet_ids"),
        ):
            if not low <= len(set(ids)) <= high:
                raise ConfigError(
                    f"{name} must be {low} to {high} different ids where {other} are given, got {list(ids)}"
                )

    def _check_source(self) -> None:
        """Raise ConfigError without a commit to stage, or for a token that would not be used or could not be read."""
        if not self.revision and self.model.revision is None:
            raise ConfigError(
                f"revision must be given for {self.model_id}, which has no confirmed commit in "
                f"infra/config/models.json: {self._how_to_find_a_commit()}"
            )
        arn = self.token_secret_arn
        if arn and self.s3_mirror:
            raise ConfigError(f"token_secret_arn must be empty where hub_endpoint is in S3, got {arn!r}")
        if arn and arn.split(":")[3] != self.region:
            raise ConfigError(f"token_secret_arn must be of a secret in the stack's region {self.region}, got {arn!r}")
        key = self.bootstrap_kms_key_arn
        if key and key.split(":")[3] != self.region:
            raise ConfigError(
                f"bootstrap_kms_key_arn must be of a key in the stack's region {self.region}, got {key!r}"
            )

    def _how_to_find_a_commit(self) -> str:
        return (
            f"open https://huggingface.co/{self.model_id}/commits/main, or read `sha` at "
            f"https://huggingface.co/api/models/{self.model_id}/revision/main, and choose a commit that holds weights"
        )


def declared_settings() -> dict[str, Setting]:
    """Return every field of Config, in order, with its documentation and rule."""
    return {item.name: item.metadata["setting"] for item in fields(Config)}


def default_of(name: str) -> Any:
    """Return a field's default value."""
    return next(item.default for item in fields(Config) if item.name == name)


def from_context(context: Mapping[str, Any], *, default_region: str | None = None) -> Config:
    """Return the chosen environment of cdk.json, overridden by `-c <setting>=<value>`.

    `context` is the app's whole context. `default_region`, the region of the caller's AWS profile, applies if the
    context names none. Raises ConfigError for an unknown setting or environment and for an invalid value.
    """
    environments = context.get("environments", {})
    env = context.get("env", DEFAULT_ENVIRONMENT)
    if env not in environments:
        known = ", ".join(environments) or "none"
        raise ConfigError(f"env must be one of the environments in cdk.json, {known}, got {env!r}")
    overrides = {
        key: value
        for key, value in context.items()
        if ":" not in key and not key.startswith("@") and key not in _CDK_OWN and key != "environments"
    }
    region = {"region": default_region} if default_region else {}
    known_settings = declared_settings()
    values: dict[str, Any] = {}
    for name, raw in {**region, **environments[env], **overrides, "env": env}.items():
        if name not in known_settings:
            raise ConfigError(
                f"{name} is not a setting{did_you_mean(name, known_settings)}; docs/configuration.md lists them all"
            )
        values[name] = parse(name, raw, like=default_of(name))
    config = Config(**values)
    if config.scaling == "off":
        _check_instance_types_stay(config, environments[env], overrides)
    return config


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
