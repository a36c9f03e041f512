"""Take a failed deployment back, step by step, last one first."""

from __future__ import annotations

from typing import Any

from moto.cloudformation.models import Stack

from local_aws.emulator.cloudformation import steps
from local_aws.emulator.cloudformation.deployed import Deployed
from local_aws.emulator.cloudformation.events import stack_event
from local_aws.emulator.cloudformation.removal import remove_all, when_rolled_back
from local_aws.emulator.cloudformation.steps import Step, StepFailedError, deployed_of


def roll_back_creation(stack: Stack, journal: list[Step], reason: str) -> None:
    """Delete all that was made; ends in ROLLBACK_COMPLETE, or ROLLBACK_FAILED if something cannot be deleted."""
    stack_event(stack, "ROLLBACK_IN_PROGRESS", reason)
    made = [step.after for step in reversed(journal) if step.after is not None]
    survivors = remove_all(stack, made, stack.template_dict, when_rolled_back)
    names = f"The following resource(s) failed to delete: [{', '.join(survivors)}]. " if survivors else None
    stack_event(stack, "ROLLBACK_FAILED" if survivors else "ROLLBACK_COMPLETE", names)


def roll_back_update(
    stack: Stack, journal: list[Step], previous: tuple[dict[str, Any], dict[str, Any]], reason: str
) -> None:
    """Update everything back to `previous` (template and parameters), then delete what the update had made."""
    stack_event(stack, "UPDATE_ROLLBACK_IN_PROGRESS", reason)
    surplus: list[Deployed] = []
    try:
        for step in reversed(journal):
            surplus += _undo(stack, step)
    except StepFailedError as error:
        stack_event(stack, "UPDATE_ROLLBACK_FAILED", f"[{error.step.logical_id}] could not be updated back: {error}")
        return
    deployed_of(stack).use(*previous)
    stack_event(stack, "UPDATE_ROLLBACK_COMPLETE_CLEANUP_IN_PROGRESS")
    for resource in surplus:
        steps.delete(stack, resource, when_rolled_back(resource))
    stack_event(stack, "UPDATE_ROLLBACK_COMPLETE")


def _undo(stack: Stack, step: Step) -> list[Deployed]:
    """Restore what was before `step`; return what must be deleted once everything is restored."""
    deployed = deployed_of(stack).deployed
    if step.before is None:
        deployed.pop(step.logical_id, None)
        return [step.after] if step.after else []
    if not step.in_place:  # replaced: the old one is still there
        deployed[step.logical_id] = step.before
        return [step.after] if step.after else []
    if step.after is None or step.after == step.before:
        return []
    restored = steps.update_in_place(stack, step.after, step.before).after
    # A custom resource answers an update with whatever physical id it likes.
    moved = restored is not None and restored.physical_id != step.after.physical_id
    return [step.after] if moved else []
