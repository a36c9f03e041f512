"""Settings: which model, staged from where, in which account and region."""

import re
from dataclasses import dataclass

from infra.errors import ConfigError
from infra.models import Model, find_model
from infra.settings import Rule, matches, one_of, setting

_MODEL = Rule("a served model of infra/models.json", bool)
_REGION = Rule("a region of infra/image_registries.json", bool)
_HUB = matches(
    r"https://[^\s/?#]+(/[^\s?#]+)*|http://127\.0\.0\.1(:\d+)?|s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[\w.-]+)*",
    "an https URL without a final slash, or s3://<bucket>/<prefix> without one",
)
_SECRET = matches(
    r"(arn:[a-z-]+:secretsmanager:[a-z0-9-]+:\d{12}:secret:[\w/+=.@-]{1,512}-[A-Za-z0-9]{6})?",
    "the whole ARN of a Secrets Manager secret, with the six characters at its end",
)


@dataclass(frozen=True, kw_only=True)
class ModelSettings:
    """What is staged, and the place that the stack belongs to."""

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
    weight_quantisation: str = setting(
        "none",
        "int8: the GPU keeps and reads the decoder's layers as 8-bit integers, at the price of an error in the logits.",
        one_of("none", "int8"),
    )
    packaging: str = setting(
        "tarball",
        "What is staged: one model.tar.gz, or the files one by one, which an instance need not unpack.",
        one_of("tarball", "uncompressed"),
    )
    hub_endpoint: str = setting(
        "https://huggingface.co",
        "Where the weights come from: the Hub, a mirror that speaks its API, or one in S3.",
        _HUB,
    )
    token_secret_arn: str = setting(
        "", "The secret that holds the Hub's token as plain text, for gated and private models; empty: none.", _SECRET
    )

    @property
    def model(self) -> Model:
        """The model's entry in the table."""
        return find_model(self.model_id)

    @property
    def commit(self) -> str:
        """The commit to stage: the configured revision, else the model's own."""
        return self.revision or str(self.model.revision)

    def check_name_of_revision(self) -> None:
        """ConfigError, with where to find a commit, for a revision that is the name of a branch or tag."""
        if re.fullmatch(r"(?![0-9a-f]{40}$)[\w./-]+", self.revision):
            raise ConfigError(
                f"revision must be a full commit, 40 hexadecimal digits, got {self.revision}: branches and tags move, "
                f"and what is staged must not; {_how_to_find(self.model_id)}"
            )

    @property
    def mirror(self) -> str | None:
        """`<bucket>[/<prefix>]` of the mirror in S3 that the weights come from, if they do."""
        scheme, _, place = self.hub_endpoint.partition("://")
        return place if scheme == "s3" else None

    def check_token(self) -> None:
        """ConfigError for a token that nothing would use, or whose secret the function could not ask for."""
        arn = self.token_secret_arn
        if arn and self.mirror:
            raise ConfigError(f"token_secret_arn must be empty where hub_endpoint is in S3, got {arn!r}")
        if arn and arn.split(":")[3] != self.region:
            raise ConfigError(f"token_secret_arn must be of a secret in the stack's region {self.region}, got {arn!r}")

    def check_commit(self) -> None:
        """ConfigError unless there is a commit to stage."""
        if not self.revision and self.model.revision is None:
            raise ConfigError(
                f"revision must be given for {self.model_id}, which has no confirmed commit in infra/models.json: "
                f"{_how_to_find(self.model_id)}"
            )


def _how_to_find(model_id: str) -> str:
    return (
        f"open https://huggingface.co/{model_id}/commits/main, or ask "
        f"https://huggingface.co/api/models/{model_id}/revision/main for `sha`, and choose a commit with safetensors"
    )
