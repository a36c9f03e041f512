"""Evaluate policy documents: which statements apply to a request, and whether they allow or deny it."""

# pyright: reportUnknownMemberType=false
# (policies are JSON)

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from local_aws.emulator.iam.conditions import Context, conditions_hold, matches, substitute

_WITH_VARIABLES = "2012-10-17"


class Verdict(Enum):
    """The combined result of policies; a deny overrides any allow."""

    SILENT = "silent"
    ALLOWED = "allowed"
    DENIED = "denied"


@dataclass(frozen=True)
class Access:
    """A permission that a request needs; the condition keys in `context` are in lower case."""

    action: str
    resource: str
    context: Context = field(default_factory=dict[str, str])


@dataclass(frozen=True)
class Caller:
    """The principal of a request.

    `names` are those that a policy may use for it: ARNs of session and role, a service such as
    `sagemaker.amazonaws.com`, or the ARN of the identity provider that vouches for it.
    """

    names: tuple[str, ...]
    account: str
    is_service: bool = False
    is_federated: bool = False


def statements_of(document: str | bytes | Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the statements of a policy document (JSON or parsed).

    Before version 2012-10-17 there are no policy variables: their text is literal, which `${$}` says here.
    """
    parsed: Any = json.loads(document) if isinstance(document, str | bytes) else document
    if parsed.get("Version") != _WITH_VARIABLES:
        parsed = json.loads(json.dumps(parsed).replace("${", "${$}{"))
    found = parsed.get("Statement", [])
    return [found] if isinstance(found, dict) else list(found)


def identity_verdict(documents: Iterable[str], access: Access) -> Verdict:
    """Evaluate the policies attached to an identity."""
    found = (statement for document in documents for statement in statements_of(document))
    return _combine(statement["Effect"] for statement in found if _applies_to(statement, access))


def resource_verdict(document: str | bytes | Mapping[str, Any], access: Access, caller: Caller) -> Verdict:
    """Evaluate a resource policy (or a role's trust policy) for `caller`.

    An Allow for the whole account only delegates to the account's identity policies, so it does not count here.
    """
    return _combine(
        statement["Effect"]
        for statement in statements_of(document)
        if _names_caller(statement, caller) and _applies_to(statement, access)
    )


def _combine(effects: Iterable[str]) -> Verdict:
    found = set(effects)
    if "Deny" in found:
        return Verdict.DENIED
    return Verdict.ALLOWED if "Allow" in found else Verdict.SILENT


def _applies_to(statement: Mapping[str, Any], access: Access) -> bool:
    return (
        _element_matches(statement, "Action", access.action, {})
        and _element_matches(statement, "Resource", access.resource, access.context)
        and conditions_hold(statement.get("Condition", {}), access.context)
    )


def _element_matches(statement: Mapping[str, Any], name: str, value: str, context: Context) -> bool:
    negated = f"Not{name}" in statement
    patterns = _as_list(statement.get(f"Not{name}" if negated else name))
    if not patterns:
        return name == "Resource"  # a trust policy has no Resource: it applies to its role
    if name == "Action":
        return negated != any(matches(item, value, ignore_case=True) for item in patterns)
    resources = [substitute(item, context) for item in patterns]
    if None in resources and negated:
        return False  # without the variable's value, the statement does not say what it excludes
    return negated != any(matches(item, value) for item in resources if item is not None)


def _names_caller(statement: Mapping[str, Any], caller: Caller) -> bool:
    if "NotPrincipal" in statement:  # allowed with Deny only: it denies everyone else
        return not _names(statement["NotPrincipal"], caller, "Allow")
    return _names(statement.get("Principal"), caller, statement["Effect"])


def _names(principal: Any, caller: Caller, effect: str) -> bool:
    if principal == "*":
        return True
    if not isinstance(principal, Mapping):
        return False
    if "*" in _as_list(principal.get("AWS")):  # equivalent in a resource's policy, also for services
        return True
    if caller.is_service:
        return any(name in caller.names for name in _as_list(principal.get("Service")))
    if caller.is_federated:
        return any(name in caller.names for name in _as_list(principal.get("Federated")))
    accepted = set(caller.names)
    if effect == "Deny":
        accepted |= {caller.account, f"arn:aws:iam::{caller.account}:root"}
    return any(name in accepted for name in _as_list(principal.get("AWS")))


def _as_list(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else list(value or [])
