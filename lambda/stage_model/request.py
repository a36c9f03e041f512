"""The properties of `Custom::StagedModel`, validated before anything is fetched or written."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from stage_model.errors import StagingError

_MODEL_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}/[A-Za-z0-9][A-Za-z0-9._-]{0,95}")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_SECRET_ARN = re.compile(r"arn:[a-z-]+:secretsmanager:[a-z0-9-]+:[0-9]{12}:secret:[A-Za-z0-9/_+=.@-]{1,512}")
_KEY_PREFIX = re.compile(r"models/[A-Za-z0-9][A-Za-z0-9._-]{0,127}/[A-Za-z0-9][A-Za-z0-9._-]{0,254}/")
_DTYPE = re.compile(r"float16|float32")
_PACKAGING = re.compile(r"tarball|uncompressed")


@dataclass(frozen=True)
class StagedModelRequest:
    """What to stage and where: the properties of the resource, in snake case."""

    model_id: str
    revision: str
    decoder_dtype: str
    code_bucket: str
    code_key: str
    model_bucket: str
    key_prefix: str
    packaging: str = "tarball"
    token_secret_arn: str | None = None


@dataclass(frozen=True)
class Destination:
    """The bucket and key prefix that a resource may write to and delete from."""

    bucket: str
    key_prefix: str


def parse_request(properties: Mapping[str, object]) -> StagedModelRequest:
    """Return the validated properties. Raises StagingError naming the property, its value and what is allowed."""
    destination = parse_destination(properties)
    return StagedModelRequest(
        model_id=_matching(properties, "ModelId", _MODEL_ID, "a Hub model id such as facebook/musicgen-large"),
        revision=_matching(properties, "Revision", _COMMIT, "a commit of 40 hexadecimal digits"),
        decoder_dtype=_matching(properties, "DecoderDtype", _DTYPE, "one of float16, float32"),
        code_bucket=_matching(properties, "CodeBucket", _BUCKET, "a bucket name"),
        code_key=_matching(properties, "CodeKey", re.compile(r".{1,1024}"), "an object key"),
        model_bucket=destination.bucket,
        key_prefix=destination.key_prefix,
        packaging=_matching(
            {"Packaging": "tarball", **properties}, "Packaging", _PACKAGING, "one of tarball, uncompressed"
        ),
        token_secret_arn=_matching(properties, "TokenSecretArn", _SECRET_ARN, "the ARN of a Secrets Manager secret")
        if properties.get("TokenSecretArn")
        else None,
    )


def parse_destination(properties: Mapping[str, object]) -> Destination:
    """Return the validated bucket and key prefix: all that a Delete needs. Raises StagingError."""
    return Destination(
        _matching(properties, "ModelBucket", _BUCKET, "a bucket name"),
        _matching(properties, "KeyPrefix", _KEY_PREFIX, "of the form models/<stack>/<resource>/"),
    )


def _matching(properties: Mapping[str, object], name: str, pattern: re.Pattern[str], allowed: str) -> str:
    value = properties.get(name)
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise StagingError(f"{name} must be {allowed}, got {shown(value)}")
    return value


def shown(value: object) -> str:
    """Return a value for an error message: the beginning of a text, the type of anything else."""
    return repr(value[:200]) if isinstance(value, str) else "none" if value is None else f"a {type(value).__name__}"
