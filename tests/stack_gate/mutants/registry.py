"""Where things are in the real stack, and the list that mutants enter themselves in."""

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
    """Register a change under its function's name."""

    def register(change: Change) -> Change:
        MUTANTS[change.__name__] = (change, frozenset(classes))
        return change

    return register


def variant(draft: Draft) -> dict[str, Any]:
    """The one production variant."""
    return draft.properties("AsyncEndpoint/Config")["ProductionVariants"][0]


def deny_of(draft: Draft, path: str) -> dict[str, Any]:
    """The statement that refuses plain HTTP."""
    return next(statement for statement in draft.statements(path) if statement["Effect"] == "Deny")


def rules_of(draft: Draft, path: str) -> list[dict[str, Any]]:
    """A bucket's lifecycle rules."""
    return draft.properties(path)["LifecycleConfiguration"]["Rules"]
