"""Policy statements as sets of principals, actions and resources under a condition, and when one covers another."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from stack_gate.conditions import Condition, parse_condition
from stack_gate.globs import covered, disjoint
from stack_gate.intrinsics import TOKEN, Resolver
from stack_gate.template import Json, as_list, is_object

EVERYBODY = "aws:*"


@dataclass(frozen=True)
class Patterns:
    """A set of strings: those that a pattern matches, or with `negated` those that none matches."""

    patterns: tuple[str, ...]
    negated: bool = False

    def includes(self, other: "Patterns") -> bool:
        """Whether every string of `other` is in this set. False may also mean that patterns must be joined to tell."""
        if not self.negated and not other.negated:
            return all(covered(pattern, self.patterns) for pattern in other.patterns)
        if self.negated and not other.negated:
            return all(disjoint(mine, its) for mine in self.patterns for its in other.patterns)
        if self.negated and other.negated:
            return all(covered(mine, other.patterns) for mine in self.patterns)
        return covered("*", self.patterns)

    def each(self) -> Iterator["Patterns"]:
        """The set in parts that are covered one by one."""
        if self.negated:
            yield self
        else:
            yield from (Patterns((pattern,)) for pattern in self.patterns)

    def uncertain(self) -> bool:
        """A negated set whose patterns are known only at deploy time: what is in it cannot be told."""
        return self.negated and any(TOKEN.search(pattern) for pattern in self.patterns)

    def words(self) -> str:
        """The set in words."""
        return ("anything but " if self.negated else "") + " or ".join(self.patterns)


@dataclass(frozen=True, kw_only=True)
class Statement:
    """One statement.

    `scope` keeps apart what cannot stand in for each other: a role's trust, a key's policy, and the rest. `attached`
    names the resource whose policy it is, empty for what belongs to an identity.
    """

    effect: str
    principals: Patterns
    actions: Patterns
    resources: Patterns
    condition: Condition
    scope: str = ""
    attached: str = ""

    @property
    def dimensions(self) -> tuple[Patterns, Patterns, Patterns]:
        """Principals, actions and resources."""
        return self.principals, self.actions, self.resources


@dataclass(frozen=True, kw_only=True)
class Holder:
    """Whose policy a document is: `principals` for an identity's, `resources` for what `*` or silence means there."""

    principals: tuple[str, ...] = ()
    resources: tuple[str, ...] = ()
    scope: str = ""
    attached: str = ""


class Unreadable(Exception):
    """A document or a statement that only CloudFormation, or nobody, can read."""


def parse_document(document: Json, holder: Holder, resolver: Resolver) -> Iterator[Statement]:
    """The statements of a policy document. Raises Unreadable for one that is not plain IAM JSON."""
    if not is_object(document) or "Statement" not in document:
        raise Unreadable("a policy document without plain statements")
    for raw in as_list(document["Statement"]):
        if not is_object(raw) or raw.get("Effect") not in ("Allow", "Deny"):
            raise Unreadable("a statement whose effect is neither Allow nor Deny in plain words")
        yield parse_statement(raw, holder, resolver)


def parse_statement(raw: dict[str, Any], holder: Holder, resolver: Resolver) -> Statement:
    """One plain statement. Raises Unreadable where a part of it is not plain."""
    condition = parse_condition(raw.get("Condition", {}), resolver)
    actions = _patterns(raw, "Action", resolver)
    if condition is None or actions is None:
        raise Unreadable("a statement without plain actions or conditions")
    return Statement(
        effect=raw["Effect"],
        principals=Patterns(holder.principals) if holder.principals else _principals(raw, resolver),
        actions=Patterns(tuple(action.lower() for action in actions.patterns), actions.negated),
        resources=_resources(raw, holder, resolver),
        condition=condition,
        scope=holder.scope,
        attached=holder.attached,
    )


def in_force(statement: Statement, holder: Holder) -> bool:
    """Whether a statement speaks of the resource whose policy holds it; what it says of others counts for nothing."""
    named = statement.resources
    if not holder.resources or named.negated:
        return True
    return not all(disjoint(pattern, arn) for pattern in named.patterns for arn in holder.resources)


def _patterns(raw: dict[str, Any], name: str, resolver: Resolver) -> Patterns | None:
    for key, negated in ((name, False), (f"Not{name}", True)):
        if key in raw:
            texts = (resolver.text(value) for value in as_list(raw[key]))
            return Patterns(tuple(sorted({_variables(text) for text in texts})), negated)
    return None


def _variables(text: str) -> str:
    """`${*}` and `${?}` are the characters themselves."""
    return text.replace("${*}", "⟦star⟧").replace("${?}", "⟦question mark⟧")


def _resources(raw: dict[str, Any], holder: Holder, resolver: Resolver) -> Patterns:
    found = _patterns(raw, "Resource", resolver)
    if holder.resources and (found is None or found == Patterns(("*",))):
        return Patterns(holder.resources)
    if found is None:
        raise Unreadable("a statement without resources")
    return found


def _principals(raw: dict[str, Any], resolver: Resolver) -> Patterns:
    for key, negated in (("Principal", False), ("NotPrincipal", True)):
        if key in raw:
            return Patterns(tuple(sorted(set(_principal_texts(raw[key], resolver)))), negated)
    raise Unreadable("a resource's statement without a principal")


def _principal_texts(value: Json, resolver: Resolver) -> Iterator[str]:
    if value == "*":
        yield EVERYBODY
        return
    if not is_object(value) or not set(value) <= {"AWS", "Service", "Federated", "CanonicalUser"}:
        raise Unreadable("a principal that is not plain")
    for kind, names in value.items():
        for name in as_list(names):
            yield _principal(kind, resolver.text(name))


def _principal(kind: str, name: str) -> str:
    if kind != "AWS":
        return f"{kind.lower()}:{name}"
    if name.isdigit() or name == "⟦AWS::AccountId⟧":
        return f"aws:arn:aws:iam::{name}:root"
    return f"aws:{name}"
