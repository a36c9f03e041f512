"""CloudFormation's API on top of the deployment engine; moto keeps the storage and the wire format."""

# pyright: reportAttributeAccessIssue=false, reportIncompatibleMethodOverride=false, reportArgumentType=false, reportUnknownVariableType=false, reportUnknownMemberType=false, reportReturnType=false
# (moto's BaseModel.__new__ hides the types of its instances)

import threading
import traceback
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from moto.cloudformation.exceptions import AlreadyExistsException, CloudFormationError, ValidationError
from moto.cloudformation.models import ChangeSet, CloudFormationBackend, Stack
from moto.cloudformation.utils import generate_changeset_id, generate_stack_id, validate_create_change_set
from moto.iam.exceptions import NotFoundException

from local_aws.emulator.cloudformation.change_set import LocalChangeSet
from local_aws.emulator.cloudformation.deployment import Kind, delete_resources, deploy
from local_aws.emulator.cloudformation.request_checks import check_parameters
from local_aws.emulator.cloudformation.stack import LocalStack
from local_aws.emulator.cloudformation.template_order import Template, parse_template
from local_aws.emulator.iam.authorization import caller_credentials
from local_aws.emulator.iam.sessions import assume_role_for_service

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
        stack.policy = options.get("stack_policy_body") or ""
        _act_as(stack, options.get("role_arn"))
        stack.enable_termination_protection = bool(options.get("enable_termination_protection"))
        check_parameters(parsed, parameters)
        stack.validate_template(parsed, parameters)
        self.stacks[stack.stack_id] = stack
        self._start_deployment(stack, parsed, template, parameters, "CREATE")
        return stack

    def update_stack(self, name: str, template: str, role_arn: str | None, parameters: Any, tags: Any) -> Stack:
        stack = self._find_updatable(name)
        parsed, resolved = parse_template(template), self._resolve_update_parameters(stack, parameters)
        check_parameters(parsed, resolved)
        stack.validate_template(parsed, resolved)
        if parsed == stack.template_dict and resolved == stack.parameters and tags in (None, stack.tags):
            raise ValidationError(message="No updates are to be performed.")
        _act_as(stack, role_arn)
        self._start_deployment(stack, parsed, template, resolved, "UPDATE", tags)
        return stack

    def delete_stack(self, name_or_stack_id: str, role_arn: str | None = None) -> None:
        stack = self._find_stack(name_or_stack_id)
        if stack is None or stack.status == "DELETE_IN_PROGRESS":
            return  # deleting a stack that does not exist succeeds, as on AWS
        if stack.enable_termination_protection:
            raise ValidationError(
                message=f"Stack [{stack.name}] cannot be deleted while TerminationProtection is enabled"
            )
        _act_as(stack, role_arn)
        stack.record_event("DELETE_IN_PROGRESS", "User Initiated")

        def work() -> None:
            if importers := self._importers(stack):
                stack.record_event("DELETE_FAILED", f"Export {importers[0]} cannot be deleted as it is in use")
                return
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
        waiting = [item for item in self.change_sets.values() if item.execution_status != "EXECUTE_COMPLETE"]
        if any(item.change_set_name == change_set_name and item.stack_id == stack.stack_id for item in waiting):
            raise AlreadyExistsException(f"ChangeSet {change_set_name} already exists")
        check_parameters(parsed, parameters)
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

    def describe_change_set(self, change_set_name: str, stack_name: str | None = None) -> ChangeSet:
        return self._find_change_set(change_set_name, stack_name)

    def delete_change_set(self, change_set_name: str, stack_name: str | None = None) -> None:
        for key, item in list(self.change_sets.items()):
            matches = stack_name in (None, item.stack_name, item.stack_id)
            if change_set_name == key or (change_set_name == item.change_set_name and matches):
                del self.change_sets[key]

    def execute_change_set(self, change_set_name: str, stack_name: str | None = None) -> None:
        change_set = self._find_change_set(change_set_name, stack_name)
        if change_set.execution_status != "AVAILABLE":
            raise ValidationError(
                message=f"ChangeSet [{change_set_name}] cannot be executed in its current execution status of "
                f"[{change_set.execution_status}]"
            )
        change_set.execution_status = "EXECUTE_COMPLETE"
        others = [key for key, item in self.change_sets.items() if item.stack_id == change_set.stack_id]
        for key in others:
            if self.change_sets[key] is not change_set:
                del self.change_sets[key]  # they are not valid for the updated stack
        stack = self.stacks[change_set.stack_id]
        _act_as(stack, change_set.role_arn)
        kind: Kind = "CREATE" if change_set.change_set_type == "CREATE" else "UPDATE"
        content = (change_set.template_dict, change_set.template, change_set.parameters)
        self._start_deployment(stack, *content, kind, change_set.tags or {})

    def _start_deployment(
        self,
        stack: LocalStack,
        template: Template,
        text: str,
        parameters: dict[str, Any],
        kind: Kind,
        tags: dict[str, str] | None = None,
    ) -> None:
        stack.record_event(f"{kind}_IN_PROGRESS", "User Initiated")

        def work() -> None:
            deploy(stack, template, text, parameters, kind, tags)
            self._drop_exports(stack)
            self.exports.update({export.name: export for export in stack.exports})

        _run_in_thread(stack, work, f"{kind}_FAILED" if kind == "CREATE" else "UPDATE_ROLLBACK_FAILED")

    def retain(self, name_or_stack_id: str, logical_ids: list[str]) -> None:
        """Keep these resources when the stack is deleted; ValidationError unless a deletion has failed."""
        stack = self._find_stack(name_or_stack_id)
        if stack is None or not logical_ids:
            return
        if stack.status != "DELETE_FAILED":
            raise ValidationError(
                message=f"Invalid operation on stack [{stack.stack_id}]. To retain resources, the stack must be in "
                "DELETE_FAILED state"
            )
        for name in set(logical_ids) & set(stack.resources.deployed):
            stack.resources.deployed[name] = replace(stack.resources.deployed[name], deletion_policy="Retain")

    def _importers(self, stack: LocalStack) -> list[str]:
        """Return which of the stack's exports other stacks import, each with their names."""
        found: list[str] = []
        for export in stack.exports:
            users = [
                other.name
                for other in self.stacks.values()
                if isinstance(other, LocalStack) and other is not stack and export.name in other.imports()
            ]
            found += [f"{export.name} (by {', '.join(users)})"] if users else []
        return found

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
        stack = LocalStack(
            stack_id=generate_stack_id(name, self.region_name, self.account_id),
            name=name,
            template={},
            parameters=parameters,
            account_id=self.account_id,
            region_name=self.region_name,
            tags=tags,
            cross_stack_resources=self.exports,
        )
        stack.cross_stack_resources = self.exports  # moto takes another dictionary while this one is empty
        return stack

    def _find_change_set(self, name: str, stack_name: str | None) -> ChangeSet:
        for key, item in self.change_sets.items():
            matches = stack_name in (None, item.stack_name, item.stack_id)
            if name == key or (name == item.change_set_name and matches):
                return item
        raise ChangeSetNotFoundError(name)


def _act_as(stack: LocalStack, role_arn: str | None) -> None:
    """Deploy with the permissions of the stack's service role, which stays, or else of whoever sends this request.

    Raise ValidationError for a role that CloudFormation cannot assume.
    """
    stack.role_arn = role_arn or stack.role_arn
    if not stack.role_arn:
        stack.credentials = caller_credentials()
        return
    try:
        stack.credentials = assume_role_for_service(stack.role_arn, "cloudformation.amazonaws.com", "AWSCloudFormation")
    except (PermissionError, NotFoundException) as error:
        raise ValidationError(message=f"Role {stack.role_arn} is invalid or cannot be assumed") from error


def _run_in_thread(stack: LocalStack, work: Callable[[], None], status_on_error: str) -> None:
    def run() -> None:
        try:
            work()
        except Exception as error:  # a bug here must not leave clients waiting for the stack forever
            traceback.print_exc()
            stack.record_event(status_on_error, f"Internal failure: {type(error).__name__}: {error}")

    threading.Thread(target=run, name=f"stack {stack.name}", daemon=True).start()
