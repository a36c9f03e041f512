"""An event of `Custom::StagedModel` and its properties, validated before anything is fetched or written.

Events come from CloudFormation, but anyone who may invoke the function can send another one.
"""

import json
import os
import re
import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any, cast
from urllib.parse import urlsplit

from stage_model.errors import StagingError
from stage_model.http import split_url

_MODEL_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}/[A-Za-z0-9][A-Za-z0-9._-]{0,95}")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_SECRET_ARN = re.compile(r"arn:[a-z-]+:secretsmanager:[a-z0-9-]+:[0-9]{12}:secret:[A-Za-z0-9/_+=.@-]{1,512}")
_KEY_PREFIX = re.compile(r"models/[A-Za-z0-9][A-Za-z0-9._-]{0,127}/[A-Za-z0-9][A-Za-z0-9._-]{0,254}/")
_DTYPE = re.compile(r"float16|float32")
_COUNT = re.compile(r"[0-9]{1,12}")
_SIZES = ("Layers", "HiddenSize", "AudioChannels", "DecoderElements", "OtherElements", "ChromaFrames")
_PACKAGING = re.compile(r"tarball|uncompressed")
_REQUEST_ID = re.compile(r"[A-Za-z0-9-]{1,128}")
# Printable ASCII without what JSON escapes, so that a response of these stays short.
_LOGICAL_ID = re.compile(r"[!#-\[\]-~]{1,255}")
_STACK_ID = re.compile(r"[!#-\[\]-~]{1,1024}")
_IDS = {"RequestId": _REQUEST_ID, "StackId": _STACK_ID, "LogicalResourceId": _LOGICAL_ID}
_PRINTABLE = re.compile(r"[!-~]+")
_MAX_URL = 8192  # characters; CloudFormation's have about 1,500, most of them a session token
MAX_PHYSICAL_ID = 1024  # CloudFormation's limit, in bytes


@dataclass(frozen=True)
class ModelSize:
    """The size of the published model `like`, for which the stack was sized, as a limit.

    Elements are of parameters and buffers; `other_elements` are those of the text encoder, EnCodec and the projections.
    """

    like: str
    layers: int
    hidden_size: int
    audio_channels: int
    decoder_elements: int
    other_elements: int
    chroma_frames: int  # of a melody model; 0: another model

    @property
    def melody(self) -> bool:
        """Whether the stack was sized for melody models."""
        return self.chroma_frames > 0


@dataclass(frozen=True)
class Commit:
    """A commit of a model repository."""

    model_id: str
    revision: str


@dataclass(frozen=True)
class CustomModel:
    """A model other than the published ones: its largest size, and where to take what audiocraft leaves out."""

    size: ModelSize
    companion: Commit


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
    custom: CustomModel | None = None


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
        custom=_custom(properties["Custom"]) if properties.get("Custom") else None,
    )


def _custom(value: object) -> CustomModel:
    if not isinstance(value, Mapping):
        raise StagingError(f"Custom must be an object, got {shown(value)}")
    given = cast(Mapping[str, object], value)

    def count(name: str) -> int:
        return int(_matching(given, name, _COUNT, "a number of up to 12 digits"))

    like = _matching(given, "Like", _MODEL_ID, "the Hub id of a published model")
    companion = Commit(
        _matching(given, "CompanionModelId", _MODEL_ID, "the Hub id of a published model"),
        _matching(given, "CompanionRevision", _COMMIT, "a commit of 40 hexadecimal digits"),
    )
    sizes = [count(name) for name in _SIZES]
    return CustomModel(ModelSize(like, *sizes), companion)


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


def check_response_url(event: object) -> None:
    """Raise StagingError unless the event has a ResponseURL that a response may be sent to.

    It must be https and not lead back into the function's own machine. Loopback is allowed where the AWS SDK is
    configured for it (`AWS_ENDPOINT_URL`), as in the embedded AWS.
    """
    url = cast(Mapping[str, object], event).get("ResponseURL") if isinstance(event, Mapping) else None
    if not isinstance(url, str) or len(url) > _MAX_URL or not _PRINTABLE.fullmatch(url):
        raise StagingError(f"ResponseURL must be an https URL of at most {_MAX_URL} characters, got {shown(url)}")
    host = split_url(url).hostname or ""
    if _is_local(host) and not _is_local(urlsplit(os.environ.get("AWS_ENDPOINT_URL", "")).hostname or ""):
        raise StagingError(f"ResponseURL must not be on this machine, got the host {host}")


def check_event(event: Mapping[str, Any]) -> None:
    """Raise StagingError unless the ids that a response must repeat are those of a CloudFormation request."""
    for name, pattern in _IDS.items():
        value = event.get(name)
        if not isinstance(value, str) or not pattern.fullmatch(value):
            raise StagingError(f"{name} must match {pattern.pattern}, got {shown(value)}")
    if not isinstance(event.get("ResourceProperties"), Mapping):
        raise StagingError(f"ResourceProperties must be an object, got {shown(event.get('ResourceProperties'))}")


def properties_of(event: Mapping[str, Any]) -> Mapping[str, object]:
    """Return the resource's properties, none if they are malformed."""
    found = event.get("ResourceProperties")
    return cast(Mapping[str, object], found) if isinstance(found, Mapping) else {}


def physical_id_of(event: Mapping[str, Any]) -> str:
    """Return the physical id in the event, or an empty string if it has none that a response may repeat."""
    found = event.get("PhysicalResourceId")
    return found if isinstance(found, str) and len(json.dumps(found)) - 2 <= MAX_PHYSICAL_ID else ""


def repeated_ids(event: Mapping[str, Any]) -> dict[str, str]:
    """Return the ids that the response repeats; malformed ones are left out, since CloudFormation did not send them."""
    found = {name: event.get(name) for name in _IDS}
    return {name: value for name, value in found.items() if isinstance(value, str) and _IDS[name].fullmatch(value)}


def _is_local(host: str) -> bool:
    """Return whether a host is a name or address, however written, of loopback, this host or a link-local service."""
    name = host.rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    address = _address(name)
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    address = mapped or address
    return address is not None and (address.is_loopback or address.is_unspecified or address.is_link_local)


def _address(host: str) -> IPv4Address | IPv6Address | None:
    # inet_aton reads forms that resolvers accept too, such as 127.1 and 0x7f000001.
    parsers: list[Callable[[str], IPv4Address | IPv6Address]] = [
        ip_address,
        lambda text: IPv4Address(socket.inet_aton(text)),
    ]
    for parse in parsers:
        with suppress(OSError, ValueError):
            return parse(host.partition("%")[0])
    return None
