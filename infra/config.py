"""The stack's configuration: one frozen object, every field documented, checked against what AWS and the GPU allow."""

import re
from dataclasses import dataclass, fields
from typing import Any

from infra import sizing
from infra.errors import ConfigError
from infra.images import check_region
from infra.instances import check_instance_type
from infra.models import Model, find_model
from infra.settings import Rule, Setting, between, matches, one_of, setting

_MODEL = Rule("a served model of infra/models.json", bool)
_INSTANCE = Rule("an instance type of infra/instances.json", bool)
_REGION = Rule("a region of infra/image_registries.json", bool)
_BUCKET = matches(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", "names of S3 buckets")
_EMAIL = matches(r"[^@\s,]{1,64}@[^@\s,]{1,190}", "e-mail addresses")
# Capital letters are legal, but SageMaker writes them small in ARNs, and policies that name the endpoint then miss it.
_ENDPOINT = matches(r"([a-z0-9](-*[a-z0-9]){0,62})?", "up to 63 lower-case letters, digits and inner hyphens")
_TAG = matches(r"(?![aA][wW][sS]:)[^=,]{1,128}=[^,]{0,256}", "`key=value` of up to 128 and 256 characters, not aws:")
_HUB = matches(r"https://[^\s/?#]+(/[^\s?#]+)*|http://127\.0\.0\.1(:\d+)?", "an https URL without a final slash")


@dataclass(frozen=True, kw_only=True)
class Config:
    """Everything that the stack can be told. Raises ConfigError, with the sentence to show, for what cannot work."""

    env: str = setting(
        "dev",
        "Which of the environments in cdk.json this is; it names the stack, `MusicGen-<env>`.",
        matches(r"[a-z][a-z0-9-]{0,30}", "1 to 31 lower-case letters, digits and hyphens"),
    )
    region: str = setting(
        "us-east-1",
        "The AWS region; where it is not given, the one of the AWS profile that the CDK CLI uses.",
        _REGION,
    )
    account: str = setting(
        "",
        "The only AWS account to deploy to; empty: whichever the credentials are for.",
        matches(r"(\d{12})?", "12 digits"),
    )
    model_id: str = setting("facebook/musicgen-large", "The model, as on the Hugging Face Hub.", _MODEL)
    revision: str = setting(
        "",
        "The commit on the Hub that is staged; empty: the one in infra/models.json, where there is one.",
        matches(r"([0-9a-f]{40})?", "a full commit, 40 hexadecimal digits"),
    )
    decoder_dtype: str = setting(
        "float16",
        "Type in which the decoder's weights are staged and run; float16 is lossless, as they were published in it.",
        one_of("float16", "float32"),
    )
    hub_endpoint: str = setting(
        "https://huggingface.co", "The Hub, or a mirror that speaks its API, that the weights come from.", _HUB
    )
    instance_type: str = setting("ml.g5.2xlarge", "The GPU instance that serves.", _INSTANCE)
    fallback_instance_types: tuple[str, ...] = setting(
        (),
        "Instance types to take, in this order, while AWS has none of the first free.",
        Rule("at most 4 instance types, SageMaker's limit beside the first", lambda types: len(types) <= 4),
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
    provision_timeout_seconds: int = setting(
        1800, "How long SageMaker may look for a free instance before a deployment fails.", between(300, 3600)
    )
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
    tags: tuple[str, ...] = setting((), "Tags, `key=value`, for every resource that takes them.", _TAG)

    def __post_init__(self) -> None:
        if re.fullmatch(r"(?![0-9a-f]{40}$)[\w./-]+", self.revision):
            raise ConfigError(_not_a_commit(self.revision, self.model_id))
        for name, declared in declared_settings().items():
            declared.check(name, getattr(self, name))
        check_region(self.region)
        for instance_type in self.fallback_instance_types:
            check_instance_type("fallback_instance_types", instance_type)
        check_instance_type("instance_type", self.instance_type)
        self._check_model()

    def _check_model(self) -> None:
        model = self.model
        if not self.revision and model.revision is None:
            raise ConfigError(
                f"revision must be given for {self.model_id}, which has no confirmed commit in infra/models.json: "
                f"{_how_to_find(self.model_id)}"
            )
        for instance_type in self.instance_types:
            sizing.check_gpu_memory(
                model,
                decoder_dtype=self.decoder_dtype,
                requests=self.max_concurrent_requests,
                instance_type=instance_type,
            )

    @property
    def model(self) -> Model:
        """The model's entry in the table."""
        return find_model(self.model_id)

    @property
    def commit(self) -> str:
        """The commit to stage: the configured revision, else the model's own."""
        return self.revision or str(self.model.revision)

    @property
    def instance_types(self) -> tuple[str, ...]:
        """The instance types that may serve, the preferred one first."""
        return (self.instance_type, *self.fallback_instance_types)

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


def _how_to_find(model_id: str) -> str:
    return (
        f"open https://huggingface.co/{model_id}/commits/main, or ask "
        f"https://huggingface.co/api/models/{model_id}/revision/main for `sha`, and choose a commit with safetensors"
    )


def _not_a_commit(revision: str, model_id: str) -> str:
    return (
        f"revision must be a full commit, 40 hexadecimal digits, got {revision}: branches and tags move, and what is "
        f"staged must not; {_how_to_find(model_id)}"
    )
