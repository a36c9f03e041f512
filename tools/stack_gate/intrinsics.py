"""CloudFormation's functions as text, so that ARNs and names of two templates can be compared.

What is known only at deploy time becomes a token, `⟦LogicalId⟧`: equal tokens mean equal values, and a token equals
nothing else.
"""

import hashlib
import re
from collections.abc import Callable, Iterator

from stack_gate.rules import arn_shapes
from stack_gate.template import Json, Stack, as_list, as_object, canonical, is_list, is_object

TOKEN = re.compile(r"⟦([^⟧]*)⟧")
ASSET_HASH = re.compile(r"\b[0-9a-f]{64}\b")
ASSET_KEY = re.compile(r"[0-9a-f]{64}\.(zip|json)")
_VARIABLE = re.compile(r"\$\{([^}]*)\}")


def token(name: str) -> str:
    """The token for a value known only at deploy time."""
    return f"⟦{name}⟧"


class Resolver:
    """Resolves values of one stack's template.

    With `by_name` a resource that the template names goes by that name, else by its token, so that who may reach it
    does not seem to change when its name does.
    """

    def __init__(self, stack: Stack, *, by_name: bool = False) -> None:
        self._stack = stack
        self._by_name = by_name
        self._pseudo = {
            "AWS::Partition": _partition(stack.region),
            "AWS::URLSuffix": "amazonaws.com.cn" if stack.region.startswith("cn-") else "amazonaws.com",
            "AWS::Region": stack.region or token("AWS::Region"),
            "AWS::AccountId": stack.account or token("AWS::AccountId"),
        }
        self._functions: dict[str, Callable[[Json], str]] = {
            "Ref": self._ref,
            "Fn::GetAtt": self._attribute,
            "Fn::Join": self._join,
            "Fn::Sub": self._sub,
        }
        self._asset_names = asset_names(stack)
        self._own_arns = {} if by_name else self._literal_arns()

    def text(self, value: Json) -> str:
        """A scalar or a function of CloudFormation as text, with tokens for what is not known yet."""
        if isinstance(value, bool):
            return str(value).lower()
        if not is_object(value):
            return self._without_hashes(str(value))
        return self._with_tokens(self._function(value))

    def _function(self, value: dict[str, Json]) -> str:
        if len(value) == 1:
            name, argument = next(iter(value.items()))
            if name in self._functions:
                return self._functions[name](argument)
        return _opaque(value)

    def arn(self, logical_id: str) -> str:
        """A resource's ARN, as far as its type says how it is made."""
        shape = arn_shapes().get(self._stack.type_of(logical_id), {}).get("arn")
        return self._fill(shape, logical_id) if shape else token(f"{logical_id}.Arn")

    def _ref(self, name: str) -> str:
        if name in self._pseudo:
            return self._pseudo[name]
        shapes = arn_shapes().get(self._stack.type_of(name), {})
        return self._fill(shapes["arn"], name) if shapes.get("ref") == "arn" else self._name(name)

    def _attribute(self, argument: str | list[str]) -> str:
        logical_id, _, attribute = (argument if isinstance(argument, str) else ".".join(map(str, argument))).partition(
            "."
        )
        shapes = arn_shapes().get(self._stack.type_of(logical_id), {})
        if attribute == shapes.get("arn_attribute", "Arn"):
            return self.arn(logical_id)
        return self._name(logical_id) if attribute in shapes.get("names", []) else token(f"{logical_id}.{attribute}")

    def _name(self, logical_id: str) -> str:
        return (self._given_name(logical_id) if self._by_name else None) or token(logical_id)

    def _given_name(self, logical_id: str) -> str | None:
        property_name = arn_shapes().get(self._stack.type_of(logical_id), {}).get("name", "")
        given = self._stack.properties(logical_id).get(property_name)
        return given if isinstance(given, str) else None

    def _fill(self, shape: str, logical_id: str, name: str | None = None) -> str:
        values = {
            "partition": self._pseudo["AWS::Partition"],
            "region": self._pseudo["AWS::Region"],
            "account": self._pseudo["AWS::AccountId"],
            "name": name or self._name(logical_id),
        }
        return shape.format(**values)

    def _literal_arns(self) -> dict[re.Pattern[str], str]:
        """ARNs of the stack's named resources, as policies that do not refer to them write them: with their token."""
        found: dict[re.Pattern[str], str] = {}
        for logical_id in self._stack.resources:
            name = self._given_name(logical_id)
            shape = arn_shapes().get(self._stack.type_of(logical_id), {}).get("arn")
            if name and shape:
                literal = re.escape(self._fill(shape, logical_id, name).removesuffix(":*"))
                found[re.compile(rf"{literal}(?![A-Za-z0-9_.-])")] = self._fill(shape, logical_id).removesuffix(":*")
        return found

    def _with_tokens(self, text: str) -> str:
        for literal, arn in self._own_arns.items():
            text = literal.sub(lambda _, arn=arn: arn, text)
        return text

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
        """The stack's own assets by their place in the template: new content is no new access."""
        return ASSET_HASH.sub(lambda found: self._asset_names.get(found.group(), found.group()), text)


def asset_names(stack: Stack) -> dict[str, str]:
    """{hash of an asset's content: token for the place in the template that uses the asset}."""
    found: dict[str, str] = {}
    for logical_id in sorted(stack.resources):
        for path, text in _asset_keys(stack.properties(logical_id), logical_id):
            found.setdefault(text.partition(".")[0], token(f"asset of {path}"))
    return found


def _asset_keys(node: Json, path: str) -> Iterator[tuple[str, str]]:
    """Whole values that are an asset's key, with their place."""
    if is_object(node):
        for key, value in node.items():
            yield from _asset_keys(value, f"{path} {key}")
    elif isinstance(node, str) and ASSET_KEY.fullmatch(node):
        yield path, node


def _partition(region: str) -> str:
    return "aws-cn" if region.startswith("cn-") else "aws-us-gov" if region.startswith("us-gov-") else "aws"


def _opaque(value: Json) -> str:
    """A token for a value that only CloudFormation can work out: equal where the text of the function is equal."""
    name = next(iter(value), "{}") if is_object(value) else "value"
    return token(f"{name}#{hashlib.sha256(canonical(value).encode()).hexdigest()[:12]}")
