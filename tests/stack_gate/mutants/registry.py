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


def variant(draft: Draft) -> dict[str, Any]:
    """Return the only production variant."""
    return draft.properties("AsyncEndpoint/Config")["ProductionVariants"][0]


def deny_of(draft: Draft, path: str) -> dict[str, Any]:
    """Return the statement that denies plain HTTP."""
    return next(statement for statement in draft.statements(path) if statement["Effect"] == "Deny")


def rules_of(draft: Draft, path: str) -> list[dict[str, Any]]:
    """Return a bucket's lifecycle rules."""
    return draft.properties(path)["LifecycleConfiguration"]["Rules"]
