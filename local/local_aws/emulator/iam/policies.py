"""Policy documents: which statements speak to a request, and what they say."""

# pyright: reportUnknownMemberType=false
# (policies are JSON)

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from local_aws.emulator.iam.conditions import conditions_hold, matches


class Verdict(Enum):
    """What the policies say together: nothing, yes, or no (which outweighs any yes)."""

    SILENT = "silent"
    ALLOWED = "allowed"
    DENIED = "denied"


@dataclass(frozen=True)
class Access:
    """One permission that a request needs; `context` holds condition keys in lower case."""

    action: str
    resource: str
    context: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True)
class Caller:
    """Who asks: names by which a policy may know the caller, and the account that it belongs to.

    `names` are ARNs (session and role) or a service such as `sagemaker.amazonaws.com`.
    """

    names: tuple[str, ...]
    account: str
    is_service: bool = False


def statements_of(document: str | bytes | Mapping[str, Any]) -> list[dict[str, Any]]:
    """The statements of a policy document, given as JSON or parsed."""
    parsed: Any = json.loads(document) if isinstance(document, str | bytes) else document
    found = parsed.get("Statement", [])
    return [found] if isinstance(found, dict) else list(found)


def identity_verdict(documents: Iterable[str], access: Access) -> Verdict:
    """What the policies attached to an identity say."""
    found = (statement for document in documents for statement in statements_of(document))
    return _combine(statement["Effect"] for statement in found if _speaks_to(statement, access))


def resource_verdict(document: str | bytes | Mapping[str, Any], access: Access, caller: Caller) -> Verdict:
    """What a resource's own policy (or a role's trust policy) says to `caller`.

    An Allow for the whole account only delegates to the account's identity policies, so it is no answer here.
    """
    effects: list[str] = []
    for statement in statements_of(document):
        if _speaks_to(statement, access) and _names(statement.get("Principal"), caller, statement["Effect"]):
            effects.append(statement["Effect"])
    return _combine(effects)


def _combine(effects: Iterable[str]) -> Verdict:
    found = set(effects)
    if "Deny" in found:
        return Verdict.DENIED
    return Verdict.ALLOWED if "Allow" in found else Verdict.SILENT


def _speaks_to(statement: Mapping[str, Any], access: Access) -> bool:
    return (
        _element(statement, "Action", access.action, ignore_case=True)
        and _element(statement, "Resource", access.resource, context=access.context)
        and conditions_hold(statement.get("Condition", {}), access.context)
    )


def _element(
    statement: Mapping[str, Any],
    name: str,
    value: str,
    *,
    ignore_case: bool = False,
    context: Mapping[str, str] | None = None,
) -> bool:
    negated = f"Not{name}" in statement
    patterns = _listed(statement.get(f"Not{name}" if negated else name))
    if not patterns:
        return name == "Resource"  # a trust policy names no resource: the role itself is meant
    return negated != any(matches(_filled(item, context or {}), value, ignore_case=ignore_case) for item in patterns)


def _filled(pattern: str, context: Mapping[str, str]) -> str:
    """`pattern` with policy variables such as `${aws:PrincipalArn}` replaced."""
    return re.sub(r"\$\{([^}]+)\}", lambda found: context.get(found[1].lower(), found[0]), pattern)


def _names(principal: Any, caller: Caller, effect: str) -> bool:
    if principal == "*":
        return True
    if not isinstance(principal, Mapping):
        return False
    if caller.is_service:
        return any(name in caller.names for name in _listed(principal.get("Service")))
    accepted = {"*", *caller.names}
    if effect == "Deny":
        accepted |= {caller.account, f"arn:aws:iam::{caller.account}:root"}
    return any(name in accepted for name in _listed(principal.get("AWS")))


def _listed(value: Any) -> list[str]:
    if value is None:
        return []
    return [value] if isinstance(value, str) else list(value)
