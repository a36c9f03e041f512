"""A synthesised stack: its template, and its CloudFormation intrinsic functions resolved to text."""

import hashlib
import json
import re
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any, TypeGuard

Json = Any
"""A value of a template: text, number, boolean, array or object."""

TOKEN = re.compile(r"⟦([^⟧]*)⟧")
_ASSET_HASH = re.compile(r"\b[0-9a-f]{64}\b")
_ASSET_KEY = re.compile(r"[0-9a-f]{64}\.(zip|json)")
_REFERENCE = re.compile(r"<([A-Za-z0-9]{1,255})((?:\.[A-Za-z0-9.]+)?)>")
_VARIABLE = re.compile(r"\$\{([^}]*)\}")


@dataclass(frozen=True, kw_only=True)
class Stack:
    """A template with its entry in the cloud assembly. `region` and `account` are empty if the assembly has none.

    `deployment` is what the assembly says of how the stack deploys: roles, tags, parameters, notifications.
    `acknowledged` has the rules that constructs are excepted from, with reasons, by construct path.
    """

    name: str
    template: dict[str, Json]
    region: str = ""
    account: str = ""
    termination_protection: bool = False
    assets: dict[str, dict[str, str]] = field(default_factory=dict[str, dict[str, str]])
    deployment: dict[str, Json] = field(default_factory=dict[str, Json])
    asset_keys: list[str] | None = None  # object keys of the asset manifest; None if there is no manifest
    acknowledged: dict[str, dict[str, str]] = field(default_factory=dict[str, dict[str, str]])

    @cached_property
    def resources(self) -> dict[str, dict[str, Json]]:
        """Resources by logical id, without entries that are none (`malformed` lists them)."""
        entries = as_object(self.template.get("Resources"))
        return {logical_id: entry for logical_id, entry in entries.items() if _is_resource(entry)}

    @cached_property
    def memo(self) -> dict[Any, Any]:
        """What was worked out from the template once and is read again, by whoever puts it here."""
        return {}

    @property
    def malformed(self) -> list[str]:
        """Keys of Resources that are no resource but, for example, a macro (`Fn::ForEach::Name`)."""
        entries = as_object(self.template.get("Resources"))
        return [logical_id for logical_id, entry in entries.items() if not _is_resource(entry)]

    def of_type(self, *types: str) -> Iterator[tuple[str, dict[str, Json]]]:
        """Yield logical id and properties of every resource of these types."""
        for logical_id, resource in self.resources.items():
            if resource.get("Type") in types:
                yield logical_id, resource.get("Properties", {})

    def properties(self, logical_id: str) -> dict[str, Json]:
        """Return a resource's properties, {} if there is no such resource."""
        return self.resources.get(logical_id, {}).get("Properties", {})

    def type_of(self, logical_id: str) -> str:
        """Return a resource's type, "" if there is no such resource."""
        return self.resources.get(logical_id, {}).get("Type", "")

    def display(self, logical_id: str) -> str:
        """Return a resource's construct path below the stack, or its logical id if the template has no path."""
        path = self.resources.get(logical_id, {}).get("Metadata", {}).get("aws:cdk:path", "")
        below = path.split("/", 1)[-1].removesuffix("/Default").removesuffix("/Resource")
        return below or logical_id

    def display_tokens(self, text: str) -> str:
        """Return a resolved text with construct paths in place of tokens."""
        return TOKEN.sub(lambda found: f"<{self.display(found.group(1))}>", text)

    def display_references(self, text: str) -> str:
        """Return a text with construct paths in place of logical ids in `<LogicalId>` and `<LogicalId.Attribute>`."""
        return _REFERENCE.sub(lambda found: f"<{self.display(found.group(1))}{found.group(2)}>", text)


def _is_resource(entry: Json) -> bool:
    return (
        is_object(entry)
        and isinstance(entry.get("Type"), str)
        and is_object(entry.get("Properties", {}))
        and is_object(entry.get("Metadata", {}))
    )


def is_object(value: Json) -> TypeGuard[dict[str, Json]]:
    return isinstance(value, dict)


def is_list(value: Json) -> TypeGuard[list[Json]]:
    return isinstance(value, list)


def as_object(value: Json) -> dict[str, Json]:
    """Return the value if it is an object, else {}."""
    return value if is_object(value) else {}


def as_list(value: Json) -> list[Json]:
    """Return the value as a list: IAM and CloudFormation also write a list of one as the bare item."""
    if value is None:
        return []
    return value if is_list(value) else [value]


def normalised(value: Json) -> Json:
    """Return a value with every Fn::GetAtt as a list: YAML's short form is the text "LogicalId.Attribute"."""
    if is_list(value):
        return [normalised(item) for item in value]
    if not is_object(value):
        return value
    attribute = value.get("Fn::GetAtt")
    if len(value) == 1 and isinstance(attribute, str) and "." in attribute:
        return {"Fn::GetAtt": attribute.split(".", 1)}
    return {key: normalised(item) for key, item in value.items()}


def objects(value: Json, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], dict[str, Json]]]:
    """Yield every object inside a value with its path, outermost first."""
    if is_object(value):
        yield path, value
        for key, item in value.items():
            yield from objects(item, (*path, str(key)))
    elif is_list(value):
        for index, item in enumerate(value):
            yield from objects(item, (*path, str(index)))


def texts(value: Json, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield every text inside a value with its path."""
    if isinstance(value, str):
        yield path, value
    elif is_object(value):
        for key, item in value.items():
            yield from texts(item, (*path, str(key)))
    elif is_list(value):
        for index, item in enumerate(value):
            yield from texts(item, (*path, str(index)))


def canonical(value: Json) -> str:
    """Return JSON with sorted keys, and numbers and booleans as text, which is how CloudFormation compares them."""
    return json.dumps(_as_text(value), sort_keys=True)


def same(one: Json, other: Json) -> bool:
    """Return whether two values have the same `canonical` text, which most values of two templates need not make."""
    return repr(one) == repr(other) or canonical(one) == canonical(other)


def _as_text(value: Json) -> Json:
    if is_object(value):
        return {str(key): _as_text(item) for key, item in value.items()}
    if is_list(value):
        return [_as_text(item) for item in value]
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, int | float) else value


def referenced_id(value: Json) -> str:
    """Return the logical id that a plain Ref or Fn::GetAtt refers to, "" for any other value."""
    if not is_object(value) or len(value) != 1:
        return ""
    function, argument = next(iter(value.items()))
    return str(next(iter(as_list(argument)), "")).split(".")[0] if function in ("Ref", "Fn::GetAtt") else ""


@cache
def _arn_formats() -> dict[str, dict[str, Any]]:
    return tomllib.loads(Path(__file__).with_name("arns.toml").read_text(encoding="utf-8"))


def _token(name: str) -> str:
    return f"⟦{name}⟧"


class Resolver:
    """Resolve values of one template to text, so that ARNs and names of two templates can be compared.

    A value known only at deploy time becomes a token, `⟦LogicalId⟧`: equal tokens mean equal values. With `by_name`, a
    resource whose name the template sets goes by that name instead, so that a changed logical id
    alone does not count as a new resource.
    """

    def __init__(self, stack: Stack, *, by_name: bool = False) -> None:
        self._stack = stack
        self._by_name = by_name
        china, gov = stack.region.startswith("cn-"), stack.region.startswith("us-gov-")
        self._pseudo_parameters = {
            "AWS::Partition": "aws-cn" if china else "aws-us-gov" if gov else "aws",
            "AWS::URLSuffix": "amazonaws.com.cn" if china else "amazonaws.com",
            "AWS::Region": stack.region or _token("AWS::Region"),
            "AWS::AccountId": stack.account or _token("AWS::AccountId"),
        }
        self._functions: dict[str, Callable[[Json], str]] = {
            "Ref": self._ref,
            "Fn::GetAtt": self._attribute,
            "Fn::Join": self._join,
            "Fn::Sub": self._sub,
        }
        self._asset_tokens = asset_tokens(stack)
        self._literal_arns = {} if by_name else self._find_literal_arns()

    def text(self, value: Json) -> str:
        """Return a scalar or an intrinsic function as text."""
        if isinstance(value, bool):
            return str(value).lower()
        if not is_object(value):
            return self._without_hashes(str(value))
        text = self._call(value)
        for literal, arn in self._literal_arns.items():
            text = literal.sub(lambda _, arn=arn: arn, text)
        return text

    def can_resolve(self, value: Json) -> bool:
        """Return whether a value is a scalar or a function that `text` follows, down to its arguments."""
        if not is_object(value):
            return not is_list(value)
        if len(value) != 1:
            return False
        name, argument = next(iter(value.items()))
        if name == "Fn::Join":
            is_join = is_list(argument) and len(argument) == 2 and is_list(argument[1])
            return is_join and isinstance(argument[0], str) and all(map(self.can_resolve, argument[1]))
        if name == "Fn::Sub":
            text, *given = as_list(argument) or [None]
            variables = as_object(given[0]) if given else {}
            return isinstance(text, str) and len(given) <= 1 and all(map(self.can_resolve, variables.values()))
        if name == "Ref":
            return isinstance(argument, str)
        return name == "Fn::GetAtt" and all(isinstance(part, str) for part in as_list(argument))

    def arn(self, logical_id: str) -> str:
        """Return a resource's ARN, or a token if arns.toml has no format for its type."""
        arn_format = self._formats(logical_id).get("arn")
        return self._fill(arn_format, self._name(logical_id)) if arn_format else _token(f"{logical_id}.Arn")

    def _formats(self, logical_id: str) -> dict[str, Any]:
        return _arn_formats().get(self._stack.type_of(logical_id), {})

    def _fill(self, arn_format: str, name: str) -> str:
        return arn_format.format(
            partition=self._pseudo_parameters["AWS::Partition"],
            region=self._pseudo_parameters["AWS::Region"],
            account=self._pseudo_parameters["AWS::AccountId"],
            name=name,
        )

    def _name(self, logical_id: str) -> str:
        return (self._given_name(logical_id) if self._by_name else None) or _token(logical_id)

    def _given_name(self, logical_id: str) -> str | None:
        given = self._stack.properties(logical_id).get(self._formats(logical_id).get("name", ""))
        return given if isinstance(given, str) else None

    def _find_literal_arns(self) -> dict[re.Pattern[str], str]:
        """Return the ARNs of named resources, which policies may spell out instead of referring to the resource."""
        found: dict[re.Pattern[str], str] = {}
        for logical_id in self._stack.resources:
            name, arn_format = self._given_name(logical_id), self._formats(logical_id).get("arn")
            if name and arn_format:
                literal = re.escape(self._fill(arn_format, name).removesuffix(":*"))
                found[re.compile(rf"{literal}(?![A-Za-z0-9_.-])")] = self.arn(logical_id).removesuffix(":*")
        return found

    def _call(self, value: dict[str, Json]) -> str:
        if len(value) == 1:
            name, argument = next(iter(value.items()))
            if name in self._functions:
                return self._functions[name](argument)
        return _opaque(value)

    def _ref(self, name: str) -> str:
        if name in self._pseudo_parameters:
            return self._pseudo_parameters[name]
        return self.arn(name) if self._formats(name).get("ref") == "arn" else self._name(name)

    def _attribute(self, argument: str | list[str]) -> str:
        path = argument if isinstance(argument, str) else ".".join(map(str, argument))
        logical_id, _, attribute = path.partition(".")
        formats = self._formats(logical_id)
        if attribute == formats.get("arn_attribute", "Arn"):
            return self.arn(logical_id)
        return self._name(logical_id) if attribute in formats.get("names", []) else _token(f"{logical_id}.{attribute}")

    def _join(self, argument: Json) -> str:
        if not (is_list(argument) and len(argument) == 2 and is_list(argument[1])):
            return _opaque({"Fn::Join": argument})
        return str(argument[0]).join(self.text(part) for part in argument[1])

    def _sub(self, argument: Json) -> str:
        text, *given = as_list(argument)
        variables = as_object(given[0]) if given else {}

        def value_of(found: re.Match[str]) -> str:
            name = found.group(1)
            if name.startswith("!"):
                return f"${{{name[1:]}}}"
            if name in variables:
                return self.text(variables[name])
            return self._attribute(name) if "." in name else self._ref(name)

        return _VARIABLE.sub(value_of, self._without_hashes(str(text)))

    def _without_hashes(self, text: str) -> str:
        """Replace hashes of the stack's assets by tokens: new content of an asset is no new access."""
        return _ASSET_HASH.sub(lambda found: self._asset_tokens.get(found.group(), found.group()), text)


def asset_tokens(stack: Stack) -> dict[str, str]:
    """Return {content hash of an asset: token for the property that uses the asset}."""
    found: dict[str, str] = {}
    for logical_id in sorted(stack.resources):
        for path, key in _asset_keys(stack.properties(logical_id), logical_id):
            found.setdefault(key.partition(".")[0], _token(f"asset of {path}"))
    return found


def _asset_keys(node: Json, path: str) -> Iterator[tuple[str, str]]:
    if is_object(node):
        for key, value in node.items():
            yield from _asset_keys(value, f"{path} {key}")
    elif isinstance(node, str) and _ASSET_KEY.fullmatch(node):
        yield path, node


def _opaque(value: Json) -> str:
    """Return a token for a value that only CloudFormation can evaluate; equal functions give equal tokens."""
    name = next(iter(value), "{}") if is_object(value) else "value"
    return _token(f"{name}#{hashlib.sha256(canonical(value).encode()).hexdigest()[:12]}")
