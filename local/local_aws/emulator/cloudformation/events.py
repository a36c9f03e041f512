"""Stack events: what the CDK CLI shows while it deploys."""

# pyright: reportArgumentType=false
# (moto's BaseModel.__new__ hides the types of what it makes)

from __future__ import annotations

from moto.cloudformation.models import Event, Stack

_LONGEST_REASON = 2000


def resource_event(
    stack: Stack, logical_id: str, resource_type: str, status: str, *, physical_id: str = "", reason: str | None = None
) -> None:
    """Record that a resource has reached `status`."""
    event = Event(
        stack_id=stack.stack_id,
        stack_name=stack.name,
        logical_resource_id=logical_id,
        physical_resource_id=physical_id,
        resource_type=resource_type,
        resource_status=status,
        resource_status_reason=reason[:_LONGEST_REASON] if reason else None,
        resource_properties=None,
    )
    stack.events.append(event)


def stack_event(stack: Stack, status: str, reason: str | None = None) -> None:
    """Record that the stack itself has reached `status`."""
    resource_event(stack, stack.name, "AWS::CloudFormation::Stack", status, physical_id=stack.stack_id, reason=reason)
    # The status last: whoever sees a final one finds all the events that led to it.
    stack.status = status
    stack.stack_status_reason = reason  # pyright: ignore[reportAttributeAccessIssue] -- DescribeStacks reads it
