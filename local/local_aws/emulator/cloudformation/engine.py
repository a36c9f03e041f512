"""Create, update and delete a stack: in order, one event after the other, and back again when something fails."""

from __future__ import annotations

from typing import Any, Literal

from moto.cloudformation.models import Stack
from moto.cloudformation.parsing import OutputMap
from moto.core.exceptions import ServiceException

from local_aws.emulator.cloudformation import steps
from local_aws.emulator.cloudformation.events import stack_event
from local_aws.emulator.cloudformation.removal import remove_all, when_deleted
from local_aws.emulator.cloudformation.rollback import roll_back_creation, roll_back_update
from local_aws.emulator.cloudformation.steps import Step, StepFailedError, deployed_of
from local_aws.emulator.cloudformation.template import Template, dependency_order

Kind = Literal["CREATE", "UPDATE"]


def deploy(stack: Stack, template: Template, text: str, parameters: dict[str, Any], kind: Kind) -> None:
    """Bring `stack` to `template` (`text` is its source); end in a `*_COMPLETE` or a `*ROLLBACK_*` status."""
    resources = deployed_of(stack)
    previous = (stack.template_dict, dict(resources.input_parameters))
    outdated = dependency_order(stack.template_dict)
    journal: list[Step] = []
    if kind == "CREATE":
        _adopt(stack, template, text, parameters)
    try:
        resources.use(template, parameters)
        _apply_all(stack, template, journal)
        outputs = _outputs(stack, template)
    except (StepFailedError, ServiceException) as error:
        if isinstance(error, StepFailedError):
            journal.append(error.step)
            failed = f"The following resource(s) failed to {kind.lower()}: [{error.step.logical_id}]. "
        else:
            failed = str(error)
        if kind == "CREATE":
            roll_back_creation(stack, journal, failed)
        else:
            roll_back_update(stack, journal, previous, failed)
        return
    _adopt(stack, template, text, parameters)
    stack.output_map = outputs
    if kind == "UPDATE":
        stack_event(stack, "UPDATE_COMPLETE_CLEANUP_IN_PROGRESS")
        _clean_up(stack, template, journal, outdated)
    stack_event(stack, f"{kind}_COMPLETE")


def _adopt(stack: Stack, template: Template, text: str, parameters: dict[str, Any]) -> None:
    """Make this template the one that readers of the stack see."""
    stack.template, stack.template_dict, stack.parameters = text, template, parameters
    stack.description = template.get("Description")


def _apply_all(stack: Stack, template: Template, journal: list[Step]) -> None:
    resources = deployed_of(stack)
    for logical_id in dependency_order(template):
        definition = template["Resources"][logical_id]
        if resources.is_wanted(definition):
            step = steps.apply(stack, logical_id, definition)
            if step is not None:
                journal.append(step)


def _outputs(stack: Stack, template: Template) -> OutputMap:
    """The outputs, evaluated now: a wrong one must fail the deployment, not the reader."""
    outputs = OutputMap(stack.resource_map, {"Outputs": template.get("Outputs", {})}, stack.stack_id)
    for name in outputs:
        outputs[name]
    return outputs


def _clean_up(stack: Stack, template: Template, journal: list[Step], order: list[str]) -> None:
    """Delete what was replaced and what the new template no longer has, dependents first."""
    resources = deployed_of(stack)
    replaced = {
        step.logical_id: step.before
        for step in journal
        if step.before and step.after and step.before.physical_id != step.after.physical_id
    }
    for logical_id in reversed(order):
        old = replaced.get(logical_id)
        if old is not None:
            steps.delete(stack, old, old.update_replace_policy)
        definition = template["Resources"].get(logical_id)
        if logical_id in resources.deployed and (definition is None or not resources.is_wanted(definition)):
            removed = resources.deployed.pop(logical_id)
            steps.delete(stack, removed, when_deleted(removed))


def tear_down(stack: Stack) -> bool:
    """Delete every resource, dependents first; whether all are gone."""
    deployed = deployed_of(stack).deployed
    order = [deployed[name] for name in reversed(dependency_order(stack.template_dict)) if name in deployed]
    survivors = remove_all(stack, order, stack.template_dict, when_deleted)
    if survivors:
        names = ", ".join(survivors)
        stack_event(stack, "DELETE_FAILED", f"The following resource(s) failed to delete: [{names}]. ")
    return not survivors
