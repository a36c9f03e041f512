"""What CloudFormation refuses before it deploys anything: names, sizes, capabilities, parameters."""

import re
from typing import Any

from moto.cloudformation.exceptions import CloudFormationError, ValidationError
from moto.core.responses import ActionResult, EmptyResult

from local_aws.emulator.cloudformation import stack_policy
from local_aws.emulator.cloudformation.template_order import Template, parse_template

_MAX_BODY_BYTES = 51_200
_MAX_RESOURCES = 500
_NAME = re.compile(r"[a-zA-Z][-a-zA-Z0-9]{0,127}")
# CreateStack, "Capabilities": the types that need one, and the property that names the resource.
_IAM_TYPES = {
    "AWS::IAM::ManagedPolicy": "ManagedPolicyName",
    "AWS::IAM::Policy": "",  # an inline policy's name is no resource's
    "AWS::IAM::Role": "RoleName",
}


class InsufficientCapabilitiesError(CloudFormationError):
    """The template has IAM resources that the caller has not acknowledged."""

    code = "InsufficientCapabilitiesException"

    def __init__(self, needed: str):
        super().__init__(f"Requires capabilities : [{needed}]")


def install(responses: Any) -> None:
    """Check the parameters of moto's requests that its backend does not see, and add UpdateTerminationProtection."""
    create, update = responses.create_stack, responses.update_stack
    create_change_set, set_stack_policy = responses.create_change_set, responses.set_stack_policy

    def create_stack(self: Any) -> Any:
        _check_name(self._get_param("StackName"))
        _check_stack_policy(self)
        _check_failure_options(self)
        _check_template(self)
        return create(self)

    def update_stack(self: Any) -> Any:
        _check_failure_options(self)
        _check_template(self)
        _check_stack_policy(self)
        if policy := self._get_param("StackPolicyBody"):
            self.cloudformation_backend.set_stack_policy(self._get_param("StackName"), policy)
        return update(self)

    def checked_stack_policy(self: Any) -> Any:
        _check_stack_policy(self)
        return set_stack_policy(self)

    def checked_change_set(self: Any) -> Any:
        if self._get_param("OnStackFailure", "ROLLBACK") != "ROLLBACK":
            raise ValidationError(message="OnStackFailure must be ROLLBACK: the embedded CloudFormation rolls back")
        _check_template(self)
        return create_change_set(self)

    def delete_stack(self: Any) -> Any:
        name, backend = self._get_param("StackName"), self.cloudformation_backend
        backend.retain(name, self._get_param("RetainResources", []))
        backend.delete_stack(name, self._get_param("RoleARN"))
        return EmptyResult()

    # moto looks for a change set by its name alone, among those of all stacks.
    responses.describe_change_set, responses.delete_change_set = _describe_change_set, _delete_change_set
    responses.update_termination_protection = _update_termination_protection
    responses.create_stack, responses.update_stack = create_stack, update_stack
    responses.create_change_set, responses.delete_stack = checked_change_set, delete_stack
    responses.set_stack_policy = checked_stack_policy


def _update_termination_protection(self: Any) -> ActionResult:
    stack = self.cloudformation_backend.get_stack(self._get_param("StackName"))
    stack.enable_termination_protection = self._get_bool_param("EnableTerminationProtection", False)
    return ActionResult({"StackId": stack.stack_id})


def _describe_change_set(self: Any) -> ActionResult:
    names = self._get_param("ChangeSetName"), self._get_param("StackName")
    return ActionResult(self.cloudformation_backend.describe_change_set(*names))


def _delete_change_set(self: Any) -> ActionResult:
    names = self._get_param("ChangeSetName"), self._get_param("StackName")
    self.cloudformation_backend.delete_change_set(*names)
    return EmptyResult()


def check_parameters(template: Template, given: dict[str, Any]) -> None:
    """Raise ValidationError for a parameter that the template does not declare or whose value it does not allow."""
    declared: dict[str, dict[str, Any]] = template.get("Parameters", {})
    if unknown := sorted(set(given) - set(declared)):
        raise ValidationError(message=f"Parameters: [{', '.join(unknown)}] do not exist in the template")
    for name, slot in declared.items():
        value = str(given.get(name, slot.get("Default", "")))
        allowed = [str(item) for item in slot.get("AllowedValues", [])]
        if allowed and value not in allowed:
            raise ValidationError(message=f"Parameter '{name}' must be one of AllowedValues")
        pattern = slot.get("AllowedPattern")
        if pattern and not re.fullmatch(pattern, value):
            message = slot.get("ConstraintDescription") or f"must match pattern {pattern}"
            raise ValidationError(message=f"Parameter '{name}' {message}")
        length = len(value)
        if length < int(slot.get("MinLength", 0)) or length > int(slot.get("MaxLength", length)):
            raise ValidationError(message=f"Parameter '{name}' must contain MinLength to MaxLength characters")
        if "MinValue" in slot or "MaxValue" in slot:
            number = float(value)
            if not float(slot.get("MinValue", number)) <= number <= float(slot.get("MaxValue", number)):
                raise ValidationError(message=f"Parameter '{name}' must be a number of MinValue to MaxValue")


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise ValidationError(
            message=f"1 validation error detected: Value '{name}' at 'stackName' failed to satisfy constraint: Member "
            "must satisfy regular expression pattern: [a-zA-Z][-a-zA-Z0-9]*"
        )


def _check_stack_policy(response: Any) -> None:
    """Refuse a stack policy that is not understood, and parameters that would be ignored."""
    for name in ("StackPolicyURL", "StackPolicyDuringUpdateBody", "StackPolicyDuringUpdateURL"):
        if response._get_param(name):
            raise ValidationError(message=f"the embedded AWS does not support {name}; use StackPolicyBody")
    if policy := response._get_param("StackPolicyBody"):
        try:
            stack_policy.check(policy)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValidationError(message=f"Error validating stack policy: {error}") from error


def _check_failure_options(response: Any) -> None:
    if response._get_bool_param("DisableRollback", False) or response._get_param("OnFailure", "ROLLBACK") != "ROLLBACK":
        raise ValidationError(
            message="DisableRollback must be false and OnFailure ROLLBACK: the embedded AWS always rolls back"
        )


def _check_template(response: Any) -> None:
    """Check the template of a request, as far as it is in the request or in a bucket."""
    body, url = response._get_param("TemplateBody"), response._get_param("TemplateURL")
    if body and len(body.encode()) > _MAX_BODY_BYTES:
        raise ValidationError(
            message="1 validation error detected: Value at 'templateBody' failed to satisfy constraint: Member must "
            f"have length less than or equal to {_MAX_BODY_BYTES}"
        )
    text = body or (response._get_stack_from_s3_url(url) if url else "")
    if not text:
        return
    resources: dict[str, dict[str, Any]] = parse_template(text).get("Resources") or {}
    if len(resources) > _MAX_RESOURCES:
        raise ValidationError(
            message=f"Template format error: Number of resources, {len(resources)}, is greater than maximum allowed, "
            f"{_MAX_RESOURCES}"
        )
    capabilities = set(response._get_param("Capabilities", []))
    iam = [item for item in resources.values() if item.get("Type") in _IAM_TYPES]
    named = any(_IAM_TYPES[item["Type"]] in item.get("Properties", {}) for item in iam)
    if named and "CAPABILITY_NAMED_IAM" not in capabilities:
        raise InsufficientCapabilitiesError("CAPABILITY_NAMED_IAM")
    if iam and not capabilities & {"CAPABILITY_IAM", "CAPABILITY_NAMED_IAM"}:
        raise InsufficientCapabilitiesError("CAPABILITY_IAM")
