"""The embedded CloudFormation: ordered, with events, rollback and replacement; storage and API are moto's."""

from __future__ import annotations

from typing import Any

from moto.cloudformation.exceptions import ValidationError
from moto.cloudformation.models import cloudformation_backends
from moto.cloudformation.responses import CloudFormationResponse

from local_aws.emulator.cloudformation.backend import LocalCloudFormation


def install() -> None:
    """Let moto serve stacks from the engine."""
    backends: Any = cloudformation_backends
    backends.backend = LocalCloudFormation
    responses: Any = CloudFormationResponse
    # moto refuses an unchanged update outright; CloudFormation makes a change set that has failed, as the CLI expects.
    responses._validate_different_update = _accept_unchanged
    execute = responses.execute_change_set

    def execute_change_set(self: Any) -> Any:
        if self._get_bool_param("DisableRollback", False):
            raise ValidationError(
                message="DisableRollback must be false: the embedded CloudFormation always rolls back"
            )
        return execute(self)

    responses.execute_change_set = execute_change_set


def _accept_unchanged(response: Any, parameters: Any, body: Any, stack: Any) -> None:
    """In the place of a check that raises."""
