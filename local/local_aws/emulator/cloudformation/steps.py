"""One step of a deployment: a single resource created, updated, replaced or deleted, with its events."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError
from moto.cloudformation.models import Stack
from moto.core.exceptions import ServiceException

from local_aws.emulator.cloudformation.deployed import Deployed, DeployedResources
from local_aws.emulator.cloudformation.events import resource_event
from local_aws.emulator.resources import find_handler
from local_aws.emulator.resources.base import Context, Handler, Outcome, ResourceFailedError, is_gone

_REPLACING = "Requested update requires the creation of a new physical resource; hence creating one."


@dataclass(frozen=True)
class Step:
    """What was done to one resource; `before` is None for a new one, `after` for one whose creation left nothing."""

    logical_id: str
    before: Deployed | None
    after: Deployed | None
    in_place: bool = False


class StepFailedError(Exception):
    """A step failed; `step` says what must be taken back."""

    def __init__(self, step: Step, reason: str):
        super().__init__(reason)
        self.step = step


def deployed_of(stack: Stack) -> DeployedResources:
    """The stack's resource map, which the extension has made the embedded AWS's own."""
    resources = stack.resource_map
    assert isinstance(resources, DeployedResources)
    return resources


def apply(stack: Stack, logical_id: str, definition: dict[str, Any]) -> Step | None:
    """Bring one resource to its definition; None if it is there already. StepFailedError if that fails."""
    resources = deployed_of(stack)
    current = resources.deployed.get(logical_id)
    blank = Deployed(
        logical_id,
        str(definition["Type"]),
        "",
        {},
        {},
        str(definition.get("DeletionPolicy", "Delete")),
        str(definition.get("UpdateReplacePolicy", "Delete")),
    )
    try:
        wanted = replace(blank, properties=resources.resolve(definition.get("Properties", {})))
    except ServiceException as error:
        verb = "CREATE" if current is None else "UPDATE"
        resource_event(stack, logical_id, blank.resource_type, f"{verb}_FAILED", reason=str(error))
        raise StepFailedError(Step(logical_id, current, current, in_place=current is not None), str(error)) from error
    if current is None:
        return _create(stack, None, wanted)
    if current.resource_type == wanted.resource_type and current.properties == wanted.properties:
        kept = replace(wanted, physical_id=current.physical_id, attributes=current.attributes)
        resources.deployed[logical_id] = kept
        return None
    if current.resource_type != wanted.resource_type or _handler(wanted).replaces(
        current.properties, wanted.properties
    ):
        return _create(stack, current, wanted)
    return update_in_place(stack, current, wanted)


def _create(stack: Stack, current: Deployed | None, wanted: Deployed) -> Step:
    verb, reason = ("CREATE", None) if current is None else ("UPDATE", _REPLACING)
    previous_id = current.physical_id if current else ""

    def work() -> Outcome:
        return _handler(wanted).create(_context(stack, wanted), wanted.properties)

    outcome, failure, left = _attempt(stack, wanted, verb, work, physical_id=previous_id, reason=reason)
    if outcome is None:
        after = replace(wanted, physical_id=left) if left else None
        raise StepFailedError(Step(wanted.logical_id, current, after), failure)
    after = _keep(stack, wanted, outcome)
    return Step(wanted.logical_id, current, after)


def update_in_place(stack: Stack, current: Deployed, wanted: Deployed) -> Step:
    """Update a resource whose type and immutable properties stay as they are."""

    def work() -> Outcome:
        context = _context(stack, wanted)
        return _handler(wanted).update(context, current.physical_id, current.properties, wanted.properties)

    outcome, failure, _ = _attempt(stack, wanted, "UPDATE", work, physical_id=current.physical_id)
    if outcome is None:
        # What of it took effect is unknown: the rollback updates it back from the wanted properties.
        half = replace(wanted, physical_id=current.physical_id, attributes=current.attributes)
        raise StepFailedError(Step(wanted.logical_id, current, half, in_place=True), failure)
    return Step(wanted.logical_id, current, _keep(stack, wanted, outcome), in_place=True)


def delete(stack: Stack, resource: Deployed, policy: str = "Delete") -> bool:
    """Delete one resource, unless its policy retains it; whether it is now out of the stack. Gone already is fine."""

    def event(status: str, reason: str | None = None) -> None:
        resource_event(
            stack, resource.logical_id, resource.resource_type, status, physical_id=resource.physical_id, reason=reason
        )

    if policy != "Delete":
        event("DELETE_SKIPPED")
        return True
    event("DELETE_IN_PROGRESS")
    try:
        _handler(resource).delete(_context(stack, resource), resource.physical_id, resource.properties)
    except ClientError as error:
        if not is_gone(error):
            event("DELETE_FAILED", _reason(error))
            return False
    except Exception as error:  # any failure of one resource must become its event, or the stack would hang
        event("DELETE_FAILED", _reason(error))
        return False
    event("DELETE_COMPLETE")
    return True


def _attempt(
    stack: Stack,
    wanted: Deployed,
    verb: str,
    work: Callable[[], Outcome],
    *,
    physical_id: str,
    reason: str | None = None,
) -> tuple[Outcome | None, str, str | None]:
    """Run `work` between its events: (outcome, "", None), or (None, why it failed, physical id of what is left)."""

    def event(status: str, physical: str, why: str | None = None) -> None:
        resource_event(stack, wanted.logical_id, wanted.resource_type, status, physical_id=physical, reason=why)

    event(f"{verb}_IN_PROGRESS", physical_id, reason)
    try:
        outcome = work()
    except Exception as error:  # any failure of one resource must become its event, or the stack would hang
        failure, left = _reason(error), getattr(error, "physical_id", None)
        event(f"{verb}_FAILED", left or physical_id, failure)
        return None, failure, left
    event(f"{verb}_COMPLETE", outcome.physical_id)
    return outcome, "", None


def _keep(stack: Stack, wanted: Deployed, outcome: Outcome) -> Deployed:
    made = replace(wanted, physical_id=outcome.physical_id, attributes=outcome.attributes)
    deployed_of(stack).deployed[wanted.logical_id] = made
    return made


def _reason(error: Exception) -> str:
    if isinstance(error, ResourceFailedError | ServiceException):
        return str(error)
    if isinstance(error, ClientError):
        code = error.response.get("Error", {}).get("Code", "Unknown")
        return f'Resource handler returned message: "{error}" (HandlerErrorCode: {code})'
    if isinstance(error, BotoCoreError | KeyError | TypeError | ValueError):
        traceback.print_exc()
        return f"Resource handler could not use the properties: {type(error).__name__}: {error}"
    traceback.print_exc()  # into the server's log: not the template's fault
    return f"Internal failure: {type(error).__name__}: {error}"


def _handler(resource: Deployed) -> Handler:
    handler = find_handler(resource.resource_type)
    if handler is None:
        raise ResourceFailedError(f"Unrecognized resource type: {resource.resource_type}")
    return handler


def _context(stack: Stack, resource: Deployed) -> Context:
    return Context(stack.name, stack.stack_id, resource.logical_id, resource.resource_type, stack.region_name)
