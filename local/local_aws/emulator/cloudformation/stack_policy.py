"""Stack policies: what an update may change (CloudFormation user guide, "Prevent updates to stack resources")."""

# pyright: reportUnknownVariableType=false
# (policies are JSON)

import json
from collections.abc import Mapping
from typing import Any

from local_aws.emulator.cloudformation.stack import Deployed
from local_aws.emulator.iam.conditions import matches

_MEMBERS = frozenset({"Sid", "Effect", "Principal", "Action", "NotAction", "Resource", "NotResource", "Condition"})


def check(text: str) -> None:
    """Raise ValueError for a policy that is not understood, and so would not protect what it should."""
    statements = _statements(text)
    for statement in statements:
        if unknown := set(statement) - _MEMBERS:
            raise ValueError(f"a stack policy's statement must have members among {sorted(_MEMBERS)}, got {unknown}")
        if statement.get("Effect") not in ("Allow", "Deny") or statement.get("Principal") != "*":
            raise ValueError("a stack policy's statement must have the Effect Allow or Deny, and the Principal *")
        for operator, keys in statement.get("Condition", {}).items():
            if operator not in ("StringEquals", "StringLike") or set(keys) != {"ResourceType"}:
                raise ValueError("a stack policy's condition must be StringEquals or StringLike of ResourceType")


def denial(text: str, action: str, resource: Deployed) -> str:
    """Return why the policy denies `action` (such as `Update:Modify`) on a resource, "" if it allows it.

    Without a policy everything is allowed; with one, what no statement allows is denied.
    """
    if not text:
        return ""
    effects = {item["Effect"] for item in _statements(text) if _applies(item, action, resource)}
    if effects == {"Allow"}:
        return ""
    return f"Action denied by stack policy: {action} on LogicalResourceId/{resource.logical_id}"


def _statements(text: str) -> list[dict[str, Any]]:
    found = json.loads(text)["Statement"]
    return [found] if isinstance(found, dict) else list(found)


def _applies(statement: Mapping[str, Any], action: str, resource: Deployed) -> bool:
    return (
        _matches(statement, "Action", action)
        and _matches(statement, "Resource", f"LogicalResourceId/{resource.logical_id}")
        and all(
            any(
                matches(item, resource.resource_type) if operator == "StringLike" else item == resource.resource_type
                for item in _as_list(keys["ResourceType"])
            )
            for operator, keys in statement.get("Condition", {}).items()
        )
    )


def _matches(statement: Mapping[str, Any], name: str, value: str) -> bool:
    negated = f"Not{name}" in statement
    patterns = _as_list(statement.get(f"Not{name}" if negated else name, []))
    return negated != any(matches(pattern, value, ignore_case=name == "Action") for pattern in patterns)


def _as_list(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else list(value)
