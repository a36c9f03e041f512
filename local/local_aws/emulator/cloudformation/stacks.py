"""The stacks of one account and region, by name, id and state."""

# pyright: reportReturnType=false
# (moto's BaseModel.__new__ hides the types of what it makes)
from __future__ import annotations

from typing import Any

from moto.cloudformation.exceptions import AlreadyExistsException, ValidationError
from moto.cloudformation.models import CloudFormationBackend, Stack
from moto.cloudformation.utils import generate_stack_id

from local_aws.emulator.cloudformation.events import stack_event
from local_aws.emulator.cloudformation.stack import LocalStack

_UPDATABLE = frozenset(
    {"CREATE_COMPLETE", "UPDATE_COMPLETE", "UPDATE_ROLLBACK_COMPLETE", "IMPORT_COMPLETE", "IMPORT_ROLLBACK_COMPLETE"}
)


class Stacks(CloudFormationBackend):
    """moto's storage of stacks, with the rules for finding, making and forgetting one."""

    def forget(self, stack: Stack) -> None:
        """Move a deleted stack to where only its id finds it, with its change sets and exports gone."""
        self.drop_exports(stack)
        for key in [key for key, item in self.change_sets.items() if item.stack_id == stack.stack_id]:
            del self.change_sets[key]
        self.deleted_stacks[stack.stack_id] = self.stacks.pop(stack.stack_id)
        stack_event(stack, "DELETE_COMPLETE")

    def drop_exports(self, stack: Stack) -> None:
        """Withdraw what the stack exports."""
        for name in [name for name, item in self.exports.items() if item.exporting_stack_id == stack.stack_id]:
            del self.exports[name]

    def find(self, name: str) -> LocalStack | None:
        """The live stack of this name or id."""
        found = (stack for stack in self.stacks.values() if isinstance(stack, LocalStack))
        return next((stack for stack in found if name in (stack.name, stack.stack_id)), None)

    def updatable(self, name: str) -> LocalStack:
        """The live stack of this name; ValidationError, in CloudFormation's words, if it cannot be updated now."""
        stack = self.find(name)
        if stack is None:
            raise ValidationError(name)
        if stack.status not in _UPDATABLE:
            raise ValidationError(message=f"Stack:{stack.stack_id} is in {stack.status} state and can not be updated.")
        return stack

    def stack_in_review(self, name: str, parameters: dict[str, str], tags: dict[str, str] | None) -> LocalStack:
        """The stack that a first change set is for: still without resources, made if need be."""
        stack = self.find(name)
        if stack is not None and stack.status == "REVIEW_IN_PROGRESS":
            return stack
        stack = self.new_stack(name, parameters, tags)
        stack_event(stack, "REVIEW_IN_PROGRESS", "User Initiated")
        return stack

    def new_stack(self, name: str, parameters: dict[str, Any], tags: dict[str, str] | None) -> LocalStack:
        """A stack that is not yet among the live ones; AlreadyExistsException if its name is taken."""
        if self.find(name) is not None:
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
