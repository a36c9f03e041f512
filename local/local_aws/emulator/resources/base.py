"""What a resource handler is: one CloudFormation type, created, updated and deleted through AWS's public API."""

from __future__ import annotations

import abc
import json
import re
import secrets
import string
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from botocore.exceptions import ClientError

from local_aws.emulator import clients
from local_aws.emulator.account import ACCOUNT_ID

Properties = Mapping[str, Any]
# What services answer for something that does not exist; SageMaker says it in words.
_GONE_CODES = frozenset(
    {
        "NoSuchBucket",
        "NoSuchBucketPolicy",
        "NoSuchEntity",
        "NoSuchKey",
        "NotFound",
        "NotFoundException",
        "ObjectNotFoundException",
        "ParameterNotFound",
        "RepositoryNotFoundException",
        "ResourceNotFound",
        "ResourceNotFoundException",
    }
)
_GONE_WORDS = re.compile(r"could not find|does not exist", re.IGNORECASE)


class ResourceFailedError(Exception):
    """A resource could not be brought into the wanted state.

    `physical_id` names what exists nevertheless, and what the rollback must therefore delete.
    """

    def __init__(self, reason: str, physical_id: str | None = None):
        super().__init__(reason)
        self.physical_id = physical_id


@dataclass(frozen=True)
class Outcome:
    """A resource as it stands: what `Ref` gives, and what `Fn::GetAtt` gives by attribute name."""

    physical_id: str
    attributes: Properties = field(default_factory=dict[str, Any])


@dataclass(frozen=True)
class Context:
    """The resource that a handler works on."""

    stack_name: str
    stack_id: str
    logical_id: str
    resource_type: str
    region: str

    def client(self, service: str) -> Any:
        """The administrator's boto3 client: CloudFormation's execution role may do everything."""
        return clients.client(service, self.region)

    def arn(self, service: str, resource: str) -> str:
        """The ARN of a resource of this account and region."""
        return f"arn:aws:{service}:{self.region}:{ACCOUNT_ID}:{resource}"

    def new_name(self, limit: int = 64, *, lower: bool = False) -> str:
        """A name as CloudFormation makes them: stack, logical id and a random end, at most `limit` characters."""
        suffix = "".join(secrets.choice(string.ascii_uppercase + string.digits) for _ in range(12))
        room = limit - len(suffix) - 1
        stem = f"{self.stack_name}-{self.logical_id}"
        if len(stem) > room:
            stem = f"{self.stack_name[: room // 2]}-{self.logical_id[: room - room // 2 - 1]}"
        name = f"{stem.strip('-')}-{suffix}"
        return name.lower() if lower else name


class Handler(abc.ABC):
    """One resource type; `immutable` are the properties whose change means a new resource."""

    types: ClassVar[tuple[str, ...]]
    immutable: ClassVar[frozenset[str]] = frozenset()

    def replaces(self, old: Properties, new: Properties) -> list[str]:
        """The changed properties that need a replacement; none if the resource can be updated in place."""
        return sorted(name for name in self.immutable if old.get(name) != new.get(name))

    @abc.abstractmethod
    def create(self, context: Context, properties: Properties) -> Outcome:
        """Create the resource and wait until it is usable; ResourceFailedError or ClientError if it is not."""

    @abc.abstractmethod
    def update(self, context: Context, physical_id: str, old: Properties, new: Properties) -> Outcome:
        """Bring the existing resource from `old` to `new`; a different physical id means that it was replaced."""

    @abc.abstractmethod
    def delete(self, context: Context, physical_id: str, properties: Properties) -> None:
        """Delete the resource and wait until it is gone; a ClientError that says so counts as success."""


def is_gone(error: ClientError) -> bool:
    """Whether the service answered that the thing to delete does not exist."""
    detail = error.response.get("Error", {})
    return detail.get("Code", "") in _GONE_CODES or (
        detail.get("Code") in {"ValidationException", "ValidationError"}
        and bool(_GONE_WORDS.search(detail.get("Message", "")))
    )


def document(value: Any) -> str:
    """A policy document as the API takes it: JSON text."""
    return value if isinstance(value, str) else json.dumps(value)


def require_known(properties: Properties, known: frozenset[str]) -> None:
    """Refuse properties that the handler would otherwise ignore in silence."""
    unknown = sorted(set(properties) - known)
    if unknown:
        raise ResourceFailedError(
            f"properties must be among {', '.join(sorted(known))}, got {', '.join(unknown)}: the embedded AWS would "
            "not honour it"
        )
