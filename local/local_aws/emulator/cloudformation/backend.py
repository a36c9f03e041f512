"""CloudFormation's API on top of the engine; moto keeps the storage and the wire format."""

# pyright: reportAttributeAccessIssue=false, reportIncompatibleMethodOverride=false, reportArgumentType=false, reportUnknownVariableType=false, reportUnknownMemberType=false
# (moto's BaseModel.__new__ hides the types of what it makes)

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable
from typing import Any

from moto.cloudformation.exceptions import CloudFormationError, ValidationError
from moto.cloudformation.models import ChangeSet, CloudFormationBackend, Stack
from moto.cloudformation.utils import generate_changeset_id, validate_create_change_set

from local_aws.emulator.cloudformation.engine import Kind, deploy, tear_down
from local_aws.emulator.cloudformation.events import stack_event
from local_aws.emulator.cloudformation.stack import LocalChangeSet, parse_template
from local_aws.emulator.cloudformation.stacks import Stacks
from local_aws.emulator.cloudformation.template import Template

_NO_CHANGES = "The submitted information didn't contain changes. Submit different information to create a change set."


class ChangeSetNotFoundError(CloudFormationError):
    """The CDK CLI retries for long on any other answer."""

    code = "ChangeSetNotFound"

    def __init__(self, name: str):
        super().__init__(f"ChangeSet [{name}] does not exist")


class LocalCloudFormation(Stacks):
    """Stacks that are really created, updated, rolled back and deleted, each in a thread of its own."""

    __module__ = CloudFormationBackend.__module__  # moto finds the service's addresses beside its backend

    def create_stack(self, name: str, template: str, parameters: dict[str, Any], **options: Any) -> Stack:
        parsed = parse_template(template)
        stack = self.new_stack(name, parameters, options.get("tags"))
        stack.check(parsed, parameters)
        self.stacks[stack.stack_id] = stack
        self._start(stack, parsed, template, parameters, "CREATE")
        return stack

    def update_stack(
        self,
        name: str,
        template: str,
        role_arn: str | None,
        parameters: list[dict[str, Any]],
        tags: dict[str, str] | None,
    ) -> Stack:
        stack = self.updatable(name)
        parsed, resolved = parse_template(template), self._resolve_update_parameters(stack, parameters)
        stack.check(parsed, resolved)
        if parsed == stack.template_dict and resolved == stack.parameters:
            raise ValidationError(message="No updates are to be performed.")
        self._start(stack, parsed, template, resolved, "UPDATE")
        return stack

    def create_change_set(
        self,
        stack_name: str,
        change_set_name: str,
        template: str,
        parameters: dict[str, str],
        description: str,
        change_set_type: str,
        tags: dict[str, str] | None = None,
        **options: Any,
    ) -> tuple[str, str]:
        validate_create_change_set(change_set_name)
        parsed = parse_template(template)
        if change_set_type == "UPDATE":
            stack = self.updatable(stack_name)
        else:
            stack = self.stack_in_review(stack_name, parameters, tags)
        stack.check(parsed, parameters)
        self.stacks[stack.stack_id] = stack
        change_set_id = generate_changeset_id(change_set_name, self.region_name, self.account_id)
        described = (template, parameters, description)
        change_set = LocalChangeSet(
            change_set_type, change_set_id, change_set_name, stack, *described, tags=tags, **options
        )
        same = parsed == stack.template_dict and parameters == stack.parameters and (tags or {}) == stack.tags
        _judge(change_set, same)
        self.change_sets[change_set.change_set_id] = change_set
        return change_set.change_set_id, stack.stack_id

    def describe_change_set(self, change_set_name: str) -> ChangeSet:
        return self._change_set(change_set_name, None)

    def delete_change_set(self, change_set_name: str) -> None:
        found = [key for key, item in self.change_sets.items() if change_set_name in (key, item.change_set_name)]
        for key in found:
            del self.change_sets[key]

    def execute_change_set(self, change_set_name: str, stack_name: str | None = None) -> None:
        change_set = self._change_set(change_set_name, stack_name)
        if change_set.execution_status != "AVAILABLE":
            raise ValidationError(
                message=f"ChangeSet [{change_set_name}] must be AVAILABLE to be executed, got "
                f"{change_set.execution_status}"
            )
        change_set.execution_status = "EXECUTE_COMPLETE"
        stack = self.stacks[change_set.stack_id]
        stack.tags = change_set.tags or {}
        kind: Kind = "CREATE" if change_set.change_set_type == "CREATE" else "UPDATE"
        self._start(stack, change_set.template_dict, change_set.template, change_set.parameters, kind)

    def delete_stack(self, name_or_stack_id: str) -> None:
        stack = self.find(name_or_stack_id)
        if stack is None or stack.status == "DELETE_IN_PROGRESS":
            return  # deleting what does not exist succeeds, as on AWS
        if stack.enable_termination_protection:
            raise ValidationError(
                message=f"Stack [{stack.name}] cannot be deleted while TerminationProtection is enabled"
            )
        stack_event(stack, "DELETE_IN_PROGRESS", "User Initiated")

        def work() -> None:
            if tear_down(stack):
                self.forget(stack)

        _in_thread(stack, work, "DELETE_FAILED")

    def _start(self, stack: Stack, template: Template, text: str, parameters: dict[str, Any], kind: Kind) -> None:
        stack_event(stack, f"{kind}_IN_PROGRESS", "User Initiated")

        def work() -> None:
            deploy(stack, template, text, parameters, kind)
            self.drop_exports(stack)
            self.exports.update({export.name: export for export in stack.exports})

        _in_thread(stack, work, f"{kind}_FAILED" if kind == "CREATE" else "UPDATE_ROLLBACK_FAILED")

    def _change_set(self, name: str, stack_name: str | None) -> ChangeSet:
        for key, item in self.change_sets.items():
            mine = stack_name in (None, item.stack_name, item.stack_id)
            if name == key or (name == item.change_set_name and mine):
                return item
        raise ChangeSetNotFoundError(name)


def _judge(change_set: ChangeSet, same: bool) -> None:
    change_set.status = "FAILED" if same else "CREATE_COMPLETE"
    change_set.execution_status = "UNAVAILABLE" if same else "AVAILABLE"
    change_set.status_reason = _NO_CHANGES if same else None


def _in_thread(stack: Stack, work: Callable[[], None], status_after_a_bug: str) -> None:
    def run() -> None:
        try:
            work()
        except Exception as error:  # a mistake in the engine must end the wait of whoever watches the stack
            traceback.print_exc()
            stack_event(stack, status_after_a_bug, f"Internal failure: {type(error).__name__}: {error}")

    threading.Thread(target=run, name=f"stack {stack.name}", daemon=True).start()
