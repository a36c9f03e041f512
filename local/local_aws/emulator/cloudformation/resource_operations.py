"""Create, update, replace or delete a single resource, and record its events."""

import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError
from moto.core.exceptions import ServiceException

from local_aws.emulator.cloudformation import stack_policy
from local_aws.emulator.cloudformation.stack import Deployed, LocalStack
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
    current = stack.resources.deployed.get(logical_id)
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
        new = replace(new, properties=_properties(stack, definition))
    except ServiceException as error:
        status = "CREATE_FAILED" if current is None else "UPDATE_FAILED"
        stack.record_resource_event(new, status, str(error))
        raise StepFailedError(Step(logical_id, current, current, in_place=current is not None), str(error)) from error
    if current is None or current.resource_type != new.resource_type:
        return _create(stack, current, new)
    if current.properties == new.properties:
        # The deletion policies may have changed.
        stack.resources.deployed[logical_id] = replace(
            new, physical_id=current.physical_id, attributes=current.attributes, no_echo=current.no_echo
        )
        return None
    replacing = _handler(new).replacement_properties(current.properties, new.properties)
    if denial := stack_policy.denial(stack.policy, "Update:Replace" if replacing else "Update:Modify", new):
        stack.record_resource_event(current, "UPDATE_FAILED", denial)
        raise StepFailedError(Step(logical_id, current, current, in_place=True), denial)
    if replacing:
        return _create(stack, current, new)
    return update_in_place(stack, current, new)


def _properties(stack: LocalStack, definition: dict[str, Any]) -> Mapping[str, Any]:
    """Return a resource's resolved properties, with the tags that it inherits from the stack."""
    properties = stack.resources.resolve(definition.get("Properties", {}))
    handler = find_handler(str(definition["Type"]))
    return handler.inherit_tags(properties, stack.tags) if handler else properties


def _create(stack: LocalStack, current: Deployed | None, new: Deployed) -> Step:
    """Create a resource; `current` is the one that it replaces, if any."""
    verb, reason = ("CREATE", None) if current is None else ("UPDATE", _REPLACING)
    started = replace(new, physical_id=current.physical_id) if current else new
    try:
        created = _attempt(
            stack, started, verb, lambda handler, context: handler.create(context, new.properties), reason
        )
        return Step(new.logical_id, current, created)
    except ResourceFailedError as error:
        left_behind = replace(new, physical_id=error.physical_id) if error.physical_id else None
        raise StepFailedError(Step(new.logical_id, current, left_behind), str(error)) from error


def update_in_place(stack: LocalStack, current: Deployed, new: Deployed) -> Step:
    """Update a resource whose type and immutable properties have not changed."""
    started = replace(new, physical_id=current.physical_id, attributes=current.attributes)

    def update(handler: Handler, context: Context) -> Outcome:
        return handler.update(context, current.physical_id, current.properties, new.properties)

    try:
        return Step(new.logical_id, current, _attempt(stack, started, "UPDATE", update), in_place=True)
    except ResourceFailedError as error:
        # How much of it took effect is unknown, so the rollback updates from the new properties back to the old.
        raise StepFailedError(Step(new.logical_id, current, started, in_place=True), str(error)) from error


def delete(stack: LocalStack, resource: Deployed, policy: str = "Delete") -> bool:
    """Delete one resource unless `policy` retains it; return whether it has left the stack."""
    if policy != "Delete":
        stack.record_resource_event(resource, "DELETE_SKIPPED")
        return True
    stack.record_resource_event(resource, "DELETE_IN_PROGRESS")
    try:
        _handler(resource).delete(_context(stack, resource), resource.physical_id, resource.properties)
    except Exception as error:  # every failure must become an event, or the stack would hang
        if not (isinstance(error, ClientError) and is_not_found(error)):
            stack.record_resource_event(resource, "DELETE_FAILED", _reason(error))
            return False
    stack.record_resource_event(resource, "DELETE_COMPLETE")
    return True


def _attempt(
    stack: LocalStack,
    new: Deployed,
    verb: str,
    operation: Callable[[Handler, Context], Outcome],
    reason: str | None = None,
) -> Deployed:
    """Run `operation` between its events and store the result; raise ResourceFailedError on any failure."""
    stack.record_resource_event(new, f"{verb}_IN_PROGRESS", reason)
    try:
        handler = _handler(new)
        handler.validate_properties(new.properties)
        outcome = operation(handler, _context(stack, new))
    except Exception as error:  # every failure must become an event, or the stack would hang
        failure, left_behind = _reason(error), getattr(error, "physical_id", None)
        stack.record_resource_event(new, f"{verb}_FAILED", failure, physical_id=left_behind)
        raise ResourceFailedError(failure, left_behind) from error
    settled = {"physical_id": outcome.physical_id, "attributes": outcome.attributes, "no_echo": outcome.no_echo}
    deployed = replace(new, **settled)
    stack.resources.deployed[new.logical_id] = deployed
    stack.record_resource_event(deployed, f"{verb}_COMPLETE")
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
    names = (stack.name, stack.stack_id, resource.logical_id, resource.resource_type)
    return Context(*names, stack.region_name, stack.credentials)
