"""The interface of a resource handler: create, update and delete one CloudFormation type through AWS's public API."""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
# (properties are JSON)

import abc
import json
import re
import secrets
import string
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from botocore import xform_name
from botocore.exceptions import ClientError

from local_aws.emulator import clients
from local_aws.emulator.account import ACCOUNT_ID

Properties = Mapping[str, Any]
_NOT_FOUND_CODE = re.compile(r"NoSuch\w+|\w*NotFound(Exception)?")
# SageMaker answers a ValidationException and says only in its message that the resource is missing.
_NOT_FOUND_MESSAGE = re.compile(r"could not find|does not exist", re.IGNORECASE)
_NUMBER_TYPES: dict[str, Callable[[Any], Any]] = {"integer": int, "long": int, "float": float, "double": float}


class ResourceFailedError(Exception):
    """A resource could not be created, updated or deleted.

    `physical_id` names what exists nevertheless and must be deleted by the rollback.
    """

    def __init__(self, reason: str, physical_id: str | None = None):
        super().__init__(reason)
        self.physical_id = physical_id


@dataclass(frozen=True)
class Outcome:
    """The value of `Ref` for a resource, and its `Fn::GetAtt` values by attribute name."""

    physical_id: str
    attributes: Properties = field(default_factory=dict[str, Any])
    no_echo: bool = False  # the attributes are secret: outputs show asterisks


@dataclass(frozen=True)
class Context:
    """The resource that a handler works on, and the APIs to do it with."""

    stack_name: str
    stack_id: str
    logical_id: str
    resource_type: str
    region: str
    credentials: dict[str, str] | None = field(default=None, repr=False)  # boto3's names; None: the administrator's

    def client(self, service: str) -> Any:
        """Return a boto3 client that may do what the stack's service role may, or else who deploys it."""
        if self.credentials is None:
            return clients.client(service, self.region)
        return clients.client_of(service, self.credentials, self.region)

    def call(self, service: str, operation: str, parameters: Properties) -> dict[str, Any]:
        """Call an operation by its API name, with `parameters` coerced to its input shape."""
        client = self.client(service)
        shape = client.meta.service_model.operation_model(operation).input_shape
        return getattr(client, xform_name(operation))(**coerce(shape, parameters, operation))

    def replace_tags(
        self,
        service: str,
        resource: Properties,
        old: Properties,
        new: Properties,
        operations: tuple[str, str] = ("UntagResource", "TagResource"),
    ) -> None:
        """Replace a resource's tags by two operations of its service, which take `resource` to identify it."""
        if old.get("Tags"):
            self.call(service, operations[0], {**resource, "TagKeys": [tag["Key"] for tag in old["Tags"]]})
        if new.get("Tags"):
            self.call(service, operations[1], {**resource, "Tags": new["Tags"]})

    def arn(self, service: str, resource: str) -> str:
        """Return the ARN of a resource in this account and region."""
        return f"arn:aws:{service}:{self.region}:{ACCOUNT_ID}:{resource}"

    def new_name(self, limit: int = 64, *, lower: bool = False) -> str:
        """Generate a name of at most `limit` characters as CloudFormation does: stack, logical id, random suffix."""
        suffix = "".join(secrets.choice(string.ascii_uppercase + string.digits) for _ in range(12))
        room = limit - len(suffix) - 1
        stem = f"{self.stack_name}-{self.logical_id}"
        if len(stem) > room:
            stem = f"{self.stack_name[: room // 2]}-{self.logical_id[: room - room // 2 - 1]}"
        name = f"{stem.strip('-')}-{suffix}"
        return name.lower() if lower else name


class Handler(abc.ABC):
    """Manage the resources of `types`.

    `properties` are the supported ones, None to leave the check to `Context.call`; changing one that is `immutable`
    replaces the resource. A `taggable` resource gets the stack's tags. A subclass without `types` is a base of others.
    """

    types: ClassVar[tuple[str, ...]] = ()
    properties: ClassVar[frozenset[str] | None] = None
    immutable: ClassVar[frozenset[str]] = frozenset()
    taggable: ClassVar[bool] = False

    def validate_properties(self, properties: Properties) -> None:
        """Raise ResourceFailedError for a property that would otherwise be ignored silently."""
        if self.properties is not None and (unsupported := sorted(set(properties) - self.properties)):
            raise ResourceFailedError(
                f"the embedded AWS does not support the properties {', '.join(unsupported)} "
                f"(supported: {', '.join(sorted(self.properties))})"
            )

    def replacement_properties(self, old: Properties, new: Properties) -> list[str]:
        """Return the changed properties that require a replacement; empty if an update in place is enough."""
        return sorted(name for name in self.immutable if old.get(name) != new.get(name))

    def inherit_tags(self, properties: Properties, tags: Mapping[str, str]) -> Properties:
        """Return the properties with the stack's tags that the resource does not set itself."""
        own: list[Any] = list(properties.get("Tags") or [])
        keys = {tag["Key"] for tag in own}
        inherited = [{"Key": key, "Value": value} for key, value in sorted(tags.items()) if key not in keys]
        return {**properties, "Tags": own + inherited} if self.taggable and inherited else properties

    name: ClassVar[tuple[str, int]] = ("", 64)

    def create(self, context: Context, properties: Properties) -> Outcome:
        """Create the resource and wait until it is usable; raise ResourceFailedError or ClientError on failure.

        By default, update a resource that does not exist yet: many of AWS's Put operations create it. Its name is the
        property `name[0]`, or generated with at most `name[1]` characters.
        """
        return self.update(context, properties.get(self.name[0]) or context.new_name(self.name[1]), {}, properties)

    @abc.abstractmethod
    def update(self, context: Context, physical_id: str, old: Properties, new: Properties) -> Outcome:
        """Update the resource in place; returning another physical id means that it was replaced."""

    @abc.abstractmethod
    def delete(self, context: Context, physical_id: str, properties: Properties) -> None:
        """Delete the resource and wait until it is gone; a not-found ClientError counts as success."""


def is_not_found(error: ClientError) -> bool:
    """Return whether the service answered that the resource does not exist."""
    detail = error.response.get("Error", {})
    code = detail.get("Code", "")
    if code in ("ValidationException", "ValidationError"):
        return bool(_NOT_FOUND_MESSAGE.search(detail.get("Message", "")))
    return bool(_NOT_FOUND_CODE.fullmatch(code))


def policy_json(document: Any) -> str:
    """Return a policy document as the JSON text that APIs take."""
    return document if isinstance(document, str) else json.dumps(document)


def pick(properties: Properties, *names: str) -> dict[str, Any]:
    """Return those of the named properties that are set."""
    return {name: properties[name] for name in names if name in properties}


def coerce(shape: Any, value: Any, path: str) -> Any:
    """Convert `value` from a template to a botocore `shape`; raise ResourceFailedError on unknown members.

    Templates write numbers and booleans as text where they come from a parameter or from `Fn::If`. They write every
    service's tags as a list of Key and Value, and capitalise members that some APIs begin with a small letter.
    """
    kind = shape.type_name
    if kind == "structure":
        if not isinstance(value, Mapping):
            raise ResourceFailedError(f"{path} must be an object, got {value!r}")
        if "TagKey" in shape.members and "Key" in value:
            value = {f"Tag{name}": item for name, item in value.items()}
        names = {str(name): name if name in shape.members else f"{name[:1]}".lower() + name[1:] for name in value}
        unknown = sorted(name for name, member in names.items() if member not in shape.members)
        if unknown:
            members = sorted(shape.members)
            raise ResourceFailedError(f"{path} must have members among {members}, got {', '.join(unknown)}")
        return {names[name]: coerce(shape.members[names[name]], item, f"{path}.{name}") for name, item in value.items()}
    if kind == "list":
        return [coerce(shape.member, item, f"{path}[{index}]") for index, item in enumerate(value)]
    if kind == "map":
        if isinstance(value, list):
            value = {tag["Key"]: tag["Value"] for tag in value}
        return {str(key): coerce(shape.value, item, f"{path}.{key}") for key, item in value.items()}
    if kind == "boolean":
        return value if isinstance(value, bool) else str(value).lower() == "true"
    if kind == "string":
        return str(value).lower() if isinstance(value, bool) else str(value)
    return _NUMBER_TYPES[kind](value) if kind in _NUMBER_TYPES else value
