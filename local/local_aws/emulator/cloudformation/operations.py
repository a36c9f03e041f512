"""Create, update, replace or delete a single resource, and record its events."""

import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError
from moto.core.exceptions import ServiceException

from local_aws.emulator.cloudformation.resource_map import Deployed
from local_aws.emulator.cloudformation.stack import LocalStack
from local_aws.emulator.resources import find_handler
from local_aws.emulator.resources.base import Context, Handler, Outcome, ResourceFailedError, is_not_found

_REPLACING = "Requested update requires the creation of a new physical resource; hence creating one."


@dataclass(frozen=True)
class Step:
    """What was done to one resource; `before` is None if it was created, `after` if a failed creation left nothing."""

    logical_id: str
    before: Deployed | None
    after: Deployed | None
    in_place: bool = False


class StepFailedError(Exception):
    """A step failed; `step` is what the rollback must undo."""

    def __init__(self, step: Step, reason: str):
        super().__init__(reason)
        self.step = step


def apply(stack: LocalStack, logical_id: str, definition: dict[str, Any]) -> Step | None:
    """Deploy one resource; return None if it is already up to date, raise StepFailedError on failure."""
    resources = stack.resources
    current = resources.deployed.get(logical_id)
    new = Deployed(
        logical_id,
        str(definition["Type"]),
        "",
        {},
        {},
        str(definition.get("DeletionPolicy", "Delete")),
        str(definition.get("UpdateReplacePolicy", "Delete")),
    )
    try:
        new = replace(new, properties=resources.resolve(definition.get("Properties", {})))
    except ServiceException as error:
        status = "CREATE_FAILED" if current is None else "UPDATE_FAILED"
        stack.record_resource_event(logical_id, new.resource_type, status, reason=str(error))
        raise StepFailedError(Step(logical_id, current, current, in_place=current is not None), str(error)) from error
    if current is None or current.resource_type != new.resource_type:
        return _create(stack, current, new)
    if current.properties == new.properties:
        resources.deployed[logical_id] = replace(
            new, physical_id=current.physical_id, attributes=current.attributes
        )  # the policies may have changed
        return None
    if _handler(new).replacement_properties(current.properties, new.properties):
        return _create(stack, current, new)
    return update_in_place(stack, current, new)


def _create(stack: LocalStack, current: Deployed | None, new: Deployed) -> Step:
    """Create a resource; `current` is the one that it replaces, if any."""

    def create() -> Outcome:
        handler = _handler(new)
        handler.validate_properties(new.properties)
        return handler.create(_context(stack, new), new.properties)

    if current is None:
        outcome, failure, left = _attempt(stack, new, "CREATE", create, physical_id="")
    else:
        outcome, failure, left = _attempt(
            stack, new, "UPDATE", create, physical_id=current.physical_id, reason=_REPLACING
        )
    if outcome is None:
        after = replace(new, physical_id=left) if left else None
        raise StepFailedError(Step(new.logical_id, current, after), failure)
    return Step(new.logical_id, current, _store(stack, new, outcome))


def update_in_place(stack: LocalStack, current: Deployed, new: Deployed) -> Step:
    """Update a resource whose type and immutable properties have not changed."""

    def update() -> Outcome:
        handler = _handler(new)
        handler.validate_properties(new.properties)
        return handler.update(_context(stack, new), current.physical_id, current.properties, new.properties)

    outcome, failure, _ = _attempt(stack, new, "UPDATE", update, physical_id=current.physical_id)
    if outcome is None:
        # How much of it took effect is unknown, so the rollback updates from the new properties back to the old.
        partial = replace(new, physical_id=current.physical_id, attributes=current.attributes)
        raise StepFailedError(Step(new.logical_id, current, partial, in_place=True), failure)
    return Step(new.logical_id, current, _store(stack, new, outcome), in_place=True)


def delete(stack: LocalStack, resource: Deployed, policy: str = "Delete") -> bool:
    """Delete one resource unless `policy` retains it; return whether it has left the stack."""

    def record(status: str, reason: str | None = None) -> None:
        stack.record_resource_event(
            resource.logical_id, resource.resource_type, status, physical_id=resource.physical_id, reason=reason
        )

    if policy != "Delete":
        record("DELETE_SKIPPED")
        return True
    record("DELETE_IN_PROGRESS")
    try:
        _handler(resource).delete(_context(stack, resource), resource.physical_id, resource.properties)
    except Exception as error:  # every failure must become an event, or the stack would hang
        if not (isinstance(error, ClientError) and is_not_found(error)):
            record("DELETE_FAILED", _reason(error))
            return False
    record("DELETE_COMPLETE")
    return True


def _attempt(
    stack: LocalStack,
    new: Deployed,
    verb: str,
    operation: Callable[[], Outcome],
    *,
    physical_id: str,
    reason: str | None = None,
) -> tuple[Outcome | None, str, str | None]:
    """Run `operation` between its events; return (outcome, "", None), or (None, reason, physical id left behind)."""

    def record(status: str, physical: str, why: str | None = None) -> None:
        stack.record_resource_event(new.logical_id, new.resource_type, status, physical_id=physical, reason=why)

    record(f"{verb}_IN_PROGRESS", physical_id, reason)
    try:
        outcome = operation()
    except Exception as error:  # every failure must become an event, or the stack would hang
        failure, left = _reason(error), getattr(error, "physical_id", None)
        record(f"{verb}_FAILED", left or physical_id, failure)
        return None, failure, left
    record(f"{verb}_COMPLETE", outcome.physical_id)
    return outcome, "", None


def _store(stack: LocalStack, new: Deployed, outcome: Outcome) -> Deployed:
    deployed = replace(new, physical_id=outcome.physical_id, attributes=outcome.attributes)
    stack.resources.deployed[new.logical_id] = deployed
    return deployed


def _reason(error: Exception) -> str:
    if isinstance(error, ResourceFailedError | ServiceException):
        return str(error)
    if isinstance(error, ClientError):
        code = error.response.get("Error", {}).get("Code", "Unknown")
        return f'Resource handler returned message: "{error}" (HandlerErrorCode: {code})'
    traceback.print_exc()
    if isinstance(error, BotoCoreError | KeyError | TypeError | ValueError):
        return f"Resource handler could not use the properties: {type(error).__name__}: {error}"
    return f"Internal failure: {type(error).__name__}: {error}"


def _handler(resource: Deployed) -> Handler:
    handler = find_handler(resource.resource_type)
    if handler is None:
        raise ResourceFailedError(f"Unrecognized resource type: {resource.resource_type}")
    return handler


def _context(stack: LocalStack, resource: Deployed) -> Context:
    return Context(stack.name, stack.stack_id, resource.logical_id, resource.resource_type, stack.region_name)
