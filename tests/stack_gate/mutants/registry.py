"""Construct paths of the real stack, and the registry of mutants."""

from collections.abc import Callable
from typing import Any

from tests.stack_gate.mutants.stacks import Change, Draft

MUTANTS: dict[str, tuple[Change, frozenset[str]]] = {}

IN, OUT, STAGED = "Storage/InputBucket", "Storage/OutputBucket", "StagedModel"
OUT_POLICY, TOPIC_POLICY = "Storage/OutputBucket/Policy", "Notifications/AlarmTopic/Policy"
ROLE, ROLE_POLICY = "AsyncEndpoint/Role", "AsyncEndpoint/Role/DefaultPolicy"
STAGE_ROLE, STAGE_POLICY, STAGE_FUNCTION = "StagedModel/Role", "StagedModel/Role/DefaultPolicy", "StagedModel/Function"
TARGET, FOLLOW = "ScaleToZero/Target", "ScaleToZero/FollowBacklog"
CLIENT = "ClientAccess/Policy"
EMPTIER = "Storage/OutputBucket/AutoDeleteObjectsCustomResource"


def mutant(*classes: str) -> Callable[[Change], Change]:
    """Register a change under its function's name, with the classes that it needs."""

    def register(change: Change) -> Change:
        MUTANTS[change.__name__] = (change, frozenset(classes))
        return change

    return register


def prepare(draft: Draft) -> None:
    """Give a draft, as the base of every mutant, what some of them change: a condition, a tag and a variable."""
    draft.template["Parameters"]["Wide"] = {"Type": "String", "Default": "no"}
    draft.template["Conditions"] = {"IsWide": {"Fn::Equals": [{"Ref": "Wide"}, "yes"]}}
    draft.resource("Monitoring/ExpiredRequests")["Condition"] = "IsWide"
    home = {"Fn::Join": ["", [{"Fn::GetAtt": [draft.id(OUT), "Arn"]}, "/home/${aws:username}/*"]]}
    draft.statements(OUT_POLICY).append(
        {"Effect": "Deny", "Principal": "*", "Action": "s3:GetObject", "Resource": home}
    )
    tagged = {"StringEquals": {"aws:PrincipalTag/squad": "music", "aws:ResourceTag/squad": "music"}}
    draft.statements(CLIENT).append(
        {"Effect": "Allow", "Action": "s3:GetObjectAttributes", "Resource": home, "Condition": tagged}
    )


def variant(draft: Draft) -> dict[str, Any]:
    """Return the only production variant."""
    return draft.properties("AsyncEndpoint/Config")["ProductionVariants"][0]


def deny_of(draft: Draft, path: str) -> dict[str, Any]:
    """Return the statement that denies plain HTTP."""
    return next(statement for statement in draft.statements(path) if statement["Effect"] == "Deny")


def rules_of(draft: Draft, path: str) -> list[dict[str, Any]]:
    """Return a bucket's lifecycle rules."""
    return draft.properties(path)["LifecycleConfiguration"]["Rules"]
