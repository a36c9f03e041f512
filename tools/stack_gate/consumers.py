"""What runs under which role: a function, model or service acts with all that its role may do."""

from collections.abc import Iterator

from stack_gate.template import Json, Stack, as_list, canonical, is_list, is_object

ROLE_PROPERTIES = (
    "Role",
    "RoleArn",
    "RoleARN",
    "ExecutionRoleArn",
    "ServiceRole",
    "TaskRoleArn",
    "SubscriptionRoleArn",
)


def runners(stack: Stack) -> dict[str, list[str]]:
    """{logical id of a role: those of the resources that run under it}."""
    found: dict[str, list[str]] = {}
    for logical_id, value in _roles_in_use(stack):
        found.setdefault(_names(value), []).append(logical_id)
    return found


def foreign_roles(stack: Stack) -> set[tuple[str, str]]:
    """(logical id, role as text) of resources that run under a role that the template does not hold."""
    return {
        (logical_id, f"role {canonical(value)}")
        for logical_id, value in _roles_in_use(stack)
        if stack.type_of(_names(value)) != "AWS::IAM::Role"
    }


def _roles_in_use(stack: Stack) -> Iterator[tuple[str, Json]]:
    for logical_id, resource in stack.resources.items():
        if str(resource.get("Type", "")).startswith("AWS::IAM::"):
            continue
        for value in _find(resource.get("Properties", {})):
            yield logical_id, value


def _find(node: Json) -> Iterator[Json]:
    if is_list(node):
        for item in node:
            yield from _find(item)
    if is_object(node):
        for key, value in node.items():
            if key in ROLE_PROPERTIES:
                yield value
            else:
                yield from _find(value)


def _names(value: Json) -> str:
    """The logical id that a plain Ref or Fn::GetAtt names; else empty."""
    if not is_object(value) or len(value) != 1:
        return ""
    function, argument = next(iter(value.items()))
    return str(as_list(argument)[0]).split(".")[0] if function in ("Ref", "Fn::GetAtt") else ""
