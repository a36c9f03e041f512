"""CloudFormation's API on top of the deployment engine; moto keeps the storage and the wire format."""

# pyright: reportAttributeAccessIssue=false, reportIncompatibleMethodOverride=false, reportArgumentType=false, reportUnknownVariableType=false, reportUnknownMemberType=false, reportReturnType=false
# (moto's BaseModel.__new__ hides the types of its instances)

import threading
import traceback
from collections.abc import Callable
from typing import Any

from moto.cloudformation.exceptions import AlreadyExistsException, CloudFormationError, ValidationError
from moto.cloudformation.models import ChangeSet, CloudFormationBackend, Stack
from moto.cloudformation.utils import generate_changeset_id, generate_stack_id, validate_create_change_set

from local_aws.emulator.cloudformation.change_set import LocalChangeSet
from local_aws.emulator.cloudformation.deployment import Kind, delete_resources, deploy
from local_aws.emulator.cloudformation.stack import LocalStack
from local_aws.emulator.cloudformation.template_order import Template, parse_template

_UPDATABLE = frozenset(
    {"CREATE_COMPLETE", "UPDATE_COMPLETE", "UPDATE_ROLLBACK_COMPLETE", "IMPORT_COMPLETE", "IMPORT_ROLLBACK_COMPLETE"}
)


class ChangeSetNotFoundError(CloudFormationError):
    """The code that the CDK CLI expects; on any other it retries for a long time."""

    code = "ChangeSetNotFound"

    def __init__(self, name: str):
        super().__init__(f"ChangeSet [{name}] does not exist")


class LocalCloudFormation(CloudFormationBackend):
    """Create, update, roll back and delete stacks for real, each in its own thread."""

    __module__ = CloudFormationBackend.__module__  # moto looks for the service's URLs next to its backend

    def create_stack(self, name: str, template: str, parameters: dict[str, Any], **options: Any) -> Stack:
        parsed = parse_template(template)
        stack = self._new_stack(name, parameters, options.get("tags"))
        stack.validate_template(parsed, parameters)
        self.stacks[stack.stack_id] = stack
        self._start_deployment(stack, parsed, template, parameters, "CREATE")
        return stack

    def update_stack(self, name: str, template: str, role_arn: str | None, parameters: Any, tags: Any) -> Stack:
        stack = self._find_updatable(name)
        parsed, resolved = parse_template(template), self._resolve_update_parameters(stack, parameters)
        stack.validate_template(parsed, resolved)
        if parsed == stack.template_dict and resolved == stack.parameters:
            raise ValidationError(message="No updates are to be performed.")
        self._start_deployment(stack, parsed, template, resolved, "UPDATE")
        return stack

    def delete_stack(self, name_or_stack_id: str) -> None:
        stack = self._find_stack(name_or_stack_id)
        if stack is None or stack.status == "DELETE_IN_PROGRESS":
            return  # deleting a stack that does not exist succeeds, as on AWS
        if stack.enable_termination_protection:
            raise ValidationError(
                message=f"Stack [{stack.name}] cannot be deleted while TerminationProtection is enabled"
            )
        stack.record_event("DELETE_IN_PROGRESS", "User Initiated")

        def work() -> None:
            if not delete_resources(stack):
                return
            self._drop_exports(stack)
            for key in [key for key, item in self.change_sets.items() if item.stack_id == stack.stack_id]:
                del self.change_sets[key]
            self.deleted_stacks[stack.stack_id] = self.stacks.pop(stack.stack_id)  # only its id finds it from now on
            stack.record_event("DELETE_COMPLETE")

        _run_in_thread(stack, work, "DELETE_FAILED")

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
            stack = self._find_updatable(stack_name)
        else:
            stack = self._stack_in_review(stack_name, parameters, tags)
        stack.validate_template(parsed, parameters)
        self.stacks[stack.stack_id] = stack
        change_set_id = generate_changeset_id(change_set_name, self.region_name, self.account_id)
        content = (template, parameters, description)
        change_set = LocalChangeSet(
            change_set_type, change_set_id, change_set_name, stack, *content, tags=tags, **options
        )
        unchanged = parsed == stack.template_dict and parameters == stack.parameters and (tags or {}) == stack.tags
        change_set.set_status(has_changes=not unchanged)
        self.change_sets[change_set.change_set_id] = change_set
        return change_set.change_set_id, stack.stack_id

    def describe_change_set(self, change_set_name: str) -> ChangeSet:
        return self._find_change_set(change_set_name, None)

    def delete_change_set(self, change_set_name: str) -> None:
        for key in [key for key, item in self.change_sets.items() if change_set_name in (key, item.change_set_name)]:
            del self.change_sets[key]

    def execute_change_set(self, change_set_name: str, stack_name: str | None = None) -> None:
        change_set = self._find_change_set(change_set_name, stack_name)
        if change_set.execution_status != "AVAILABLE":
            raise ValidationError(
                message=f"ChangeSet [{change_set_name}] cannot be executed in its current execution status of "
                f"[{change_set.execution_status}]"
            )
        change_set.execution_status = "EXECUTE_COMPLETE"
        stack = self.stacks[change_set.stack_id]
        stack.tags = change_set.tags or {}
        kind: Kind = "CREATE" if change_set.change_set_type == "CREATE" else "UPDATE"
        self._start_deployment(stack, change_set.template_dict, change_set.template, change_set.parameters, kind)

    def _start_deployment(
        self, stack: LocalStack, template: Template, text: str, parameters: dict[str, Any], kind: Kind
    ) -> None:
        stack.record_event(f"{kind}_IN_PROGRESS", "User Initiated")

        def work() -> None:
            deploy(stack, template, text, parameters, kind)
            self._drop_exports(stack)
            self.exports.update({export.name: export for export in stack.exports})

        _run_in_thread(stack, work, f"{kind}_FAILED" if kind == "CREATE" else "UPDATE_ROLLBACK_FAILED")

    def _drop_exports(self, stack: LocalStack) -> None:
        for name in [name for name, item in self.exports.items() if item.exporting_stack_id == stack.stack_id]:
            del self.exports[name]

    def _find_stack(self, name: str) -> LocalStack | None:
        """Return the live stack with this name or id."""
        found = (stack for stack in self.stacks.values() if isinstance(stack, LocalStack))
        return next((stack for stack in found if name in (stack.name, stack.stack_id)), None)

    def _find_updatable(self, name: str) -> LocalStack:
        """Return the live stack with this name; raise CloudFormation's ValidationError if it cannot be updated now."""
        stack = self._find_stack(name)
        if stack is None:
            raise ValidationError(name)
        if stack.status not in _UPDATABLE:
            raise ValidationError(message=f"Stack:{stack.stack_id} is in {stack.status} state and can not be updated.")
        return stack

    def _stack_in_review(self, name: str, parameters: dict[str, str], tags: dict[str, str] | None) -> LocalStack:
        """Return the stack of a first change set, which has no resources yet; create it if necessary."""
        stack = self._find_stack(name)
        if stack is None or stack.status != "REVIEW_IN_PROGRESS":
            stack = self._new_stack(name, parameters, tags)
            stack.record_event("REVIEW_IN_PROGRESS", "User Initiated")
        return stack

    def _new_stack(self, name: str, parameters: dict[str, Any], tags: dict[str, str] | None) -> LocalStack:
        """Return a new stack, not yet stored; raise AlreadyExistsException if its name is taken."""
        if self._find_stack(name) is not None:
            raise AlreadyExistsException(f"Stack [{name}] already exists")
        return LocalStack(
            stack_id=generate_stack_id(name, self.region_name, self.account_id),
            name=name,
            template={},
            parameters=parameters,
            account_id=self.account_id,
            region_name=self.region_name,
            tags=tags,
            cross_stack_resources=self.exports,
        )

    def _find_change_set(self, name: str, stack_name: str | None) -> ChangeSet:
        for key, item in self.change_sets.items():
            matches = stack_name in (None, item.stack_name, item.stack_id)
            if name == key or (name == item.change_set_name and matches):
                return item
        raise ChangeSetNotFoundError(name)


def _run_in_thread(stack: LocalStack, work: Callable[[], None], status_on_error: str) -> None:
    def run() -> None:
        try:
            work()
        except Exception as error:  # a bug here must not leave clients waiting for the stack forever
            traceback.print_exc()
            stack.record_event(status_on_error, f"Internal failure: {type(error).__name__}: {error}")

    threading.Thread(target=run, name=f"stack {stack.name}", daemon=True).start()
