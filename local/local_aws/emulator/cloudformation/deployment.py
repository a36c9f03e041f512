"""Deploy and delete whole stacks: resources in dependency order, rollback when one fails."""

from collections.abc import Callable, Iterable
from typing import Any, Literal

from moto.cloudformation.exceptions import ValidationError
from moto.cloudformation.parsing import OutputMap
from moto.core.exceptions import ServiceException

from local_aws.emulator.cloudformation import resource_operations, stack_policy
from local_aws.emulator.cloudformation.resource_operations import Step, StepFailedError
from local_aws.emulator.cloudformation.stack import Deployed, LocalStack
from local_aws.emulator.cloudformation.template_order import (
    Template,
    attribute_owners,
    dependencies,
    dependency_order,
)

Kind = Literal["CREATE", "UPDATE"]
_MASK = "****"


def deploy(
    stack: LocalStack,
    template: Template,
    text: str,
    parameters: dict[str, Any],
    kind: Kind,
    tags: dict[str, str] | None = None,
) -> None:
    """Deploy `template` (`text` is its source); the stack ends in a `*_COMPLETE` or `*ROLLBACK_*` status.

    `tags` replace the stack's; None keeps them.
    """
    previous, previous_tags = (stack.template_dict, dict(stack.resources.input_parameters)), stack.tags
    stack.tags = stack.tags if tags is None else tags
    previous_order = dependency_order(stack.template_dict)
    journal: list[Step] = []
    if kind == "CREATE":
        _set_template(stack, template, text, parameters)
    try:
        stack.resources.use(template, parameters)
        _check_removals(stack, template)
        for logical_id in dependency_order(template):
            definition = template["Resources"][logical_id]
            if stack.resources.is_enabled(definition):
                step = resource_operations.apply(stack, logical_id, definition)
                journal += [step] if step is not None else []
        outputs = OutputMap(stack.resource_map, {"Outputs": template.get("Outputs", {})}, stack.stack_id)
        for name in outputs:
            outputs[name]  # evaluate now: a wrong output must fail the deployment, not the reader
        _check_exports(stack, outputs)
        _mask_secrets(stack, template, outputs)
    except (StepFailedError, ServiceException) as error:
        reason = str(error)
        if isinstance(error, StepFailedError):
            journal.append(error.step)
            reason = f"The following resource(s) failed to {kind.lower()}: [{error.step.logical_id}]. "
        if kind == "CREATE":
            _roll_back_creation(stack, journal, reason)
        else:
            stack.tags = previous_tags
            _roll_back_update(stack, journal, previous, reason)
        return
    _set_template(stack, template, text, parameters)
    stack.output_map = outputs
    if kind == "UPDATE":
        stack.record_event("UPDATE_COMPLETE_CLEANUP_IN_PROGRESS")
        _clean_up(stack, template, journal, previous_order)
    stack.record_event(f"{kind}_COMPLETE")


def delete_resources(stack: LocalStack) -> bool:
    """Delete every resource of the stack, dependents first; return whether all are gone."""
    deployed = stack.resources.deployed
    order = [deployed[name] for name in reversed(dependency_order(stack.template_dict)) if name in deployed]
    survivors = _delete_all(stack, order, stack.template_dict, _policy_on_delete)
    if survivors:
        stack.record_event("DELETE_FAILED", _failed_to_delete(survivors))
    return not survivors


def _check_removals(stack: LocalStack, template: Template) -> None:
    """Raise ValidationError if the stack policy denies to remove a resource that the template has dropped."""
    for name, resource in stack.resources.deployed.items():
        removed = name not in template["Resources"]
        if removed and (denial := stack_policy.denial(stack.policy, "Update:Delete", resource)):
            raise ValidationError(message=denial)


def _mask_secrets(stack: LocalStack, template: Template, outputs: OutputMap) -> None:
    """Show asterisks in outputs with an attribute of a custom resource that answered NoEcho."""
    secret = {name for name, resource in stack.resources.deployed.items() if resource.no_echo}
    for name, definition in template.get("Outputs", {}).items():
        output = outputs[name] if secret & set(attribute_owners(definition.get("Value"))) else None
        if output is not None:
            output.value = _MASK


def _check_exports(stack: LocalStack, outputs: OutputMap) -> None:
    """Raise ValidationError if another stack exports one of the names."""
    for export in outputs.exports:
        other = stack.cross_stack_resources.get(export.name)
        if other is not None and other.exporting_stack_id != stack.stack_id:
            raise ValidationError(
                message=f"Export with name {export.name} is already exported by stack {other.exporting_stack_id}"
            )


def _set_template(stack: LocalStack, template: Template, text: str, parameters: dict[str, Any]) -> None:
    stack.template, stack.template_dict, stack.parameters = text, template, parameters
    stack.description = template.get("Description")


def _clean_up(stack: LocalStack, template: Template, journal: list[Step], order: list[str]) -> None:
    """Delete replaced resources and those that the new template dropped, dependents first."""
    resources = stack.resources
    replaced = {
        step.logical_id: step.before
        for step in journal
        if step.before and step.after and step.before.physical_id != step.after.physical_id
    }
    for logical_id in reversed(order):
        old = replaced.get(logical_id)
        if old is not None:
            resource_operations.delete(stack, old, old.update_replace_policy)
        definition = template["Resources"].get(logical_id)
        if logical_id in resources.deployed and (definition is None or not resources.is_enabled(definition)):
            removed = resources.deployed.pop(logical_id)
            resource_operations.delete(stack, removed, _policy_on_delete(removed))


def _roll_back_creation(stack: LocalStack, journal: list[Step], reason: str) -> None:
    """Delete everything that was created; end in ROLLBACK_COMPLETE, or in ROLLBACK_FAILED if a deletion fails."""
    stack.record_event("ROLLBACK_IN_PROGRESS", reason)
    created = [step.after for step in reversed(journal) if step.after is not None]
    survivors = _delete_all(stack, created, stack.template_dict, _policy_on_rollback)
    if survivors:
        stack.record_event("ROLLBACK_FAILED", _failed_to_delete(survivors))
    else:
        stack.record_event("ROLLBACK_COMPLETE")


def _roll_back_update(
    stack: LocalStack, journal: list[Step], previous: tuple[Template, dict[str, Any]], reason: str
) -> None:
    """Restore `previous` (template and parameters), then delete what the update had created."""
    stack.record_event("UPDATE_ROLLBACK_IN_PROGRESS", reason)
    surplus: list[Deployed] = []
    try:
        for step in reversed(journal):
            surplus += _undo(stack, step)
    except StepFailedError as error:
        stack.record_event("UPDATE_ROLLBACK_FAILED", f"[{error.step.logical_id}] could not be rolled back: {error}")
        return
    stack.resources.use(*previous)
    stack.record_event("UPDATE_ROLLBACK_COMPLETE_CLEANUP_IN_PROGRESS")
    for resource in surplus:
        resource_operations.delete(stack, resource, _policy_on_rollback(resource))
    stack.record_event("UPDATE_ROLLBACK_COMPLETE")


def _undo(stack: LocalStack, step: Step) -> list[Deployed]:
    """Restore the resource as it was before `step`; return what to delete once everything is restored."""
    deployed = stack.resources.deployed
    if step.before is None:
        deployed.pop(step.logical_id, None)
        return [step.after] if step.after else []
    if not step.in_place:  # it was replaced, and the old one still exists
        deployed[step.logical_id] = step.before
        return [step.after] if step.after else []
    if step.after is None or step.after == step.before:
        return []
    restored = resource_operations.update_in_place(stack, step.after, step.before).after
    # A custom resource may answer an update with a different physical id.
    moved = restored is not None and restored.physical_id != step.after.physical_id
    return [step.after] if moved else []


def _delete_all(
    stack: LocalStack, resources: Iterable[Deployed], template: Template, policy: Callable[[Deployed], str]
) -> list[str]:
    """Delete `resources` (dependents first) according to `policy`; return the logical ids that could not be deleted.

    The dependencies of such a survivor are not deleted either, and stay in the stack with it.
    """
    deployed, blocked, survivors = stack.resources.deployed, set[str](), list[str]()
    for resource in resources:
        name = resource.logical_id
        if name not in blocked and resource_operations.delete(stack, resource, policy(resource)):
            deployed.pop(name, None)
        else:
            deployed[name] = resource
            blocked |= dependencies(template["Resources"][name])
            survivors.append(name)
    return survivors


def _failed_to_delete(survivors: list[str]) -> str:
    return f"The following resource(s) failed to delete: [{', '.join(survivors)}]. "


def _policy_on_delete(resource: Deployed) -> str:
    return "Retain" if resource.deletion_policy == "RetainExceptOnCreate" else resource.deletion_policy


def _policy_on_rollback(resource: Deployed) -> str:
    return "Delete" if resource.deletion_policy == "RetainExceptOnCreate" else resource.deletion_policy
