"""Reading synthesised templates, shared by the tests of this folder."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
from aws_cdk.assertions import Template

ROOT = Path(__file__).resolve().parents[2]
Synthesise = Callable[..., Template]
Find = Callable[..., dict[str, Any]]
OfType = Callable[[str], list[dict[str, Any]]]

NETWORK = {
    "vpc_subnet_ids": "subnet-0123456789abcdef0,subnet-0123456789abcdef1",
    "vpc_security_group_ids": "sg-0123456789abcdef0",
}
SCHEDULE = {
    "warm_up_schedule": "cron(45 8 ? * MON-FRI *)",
    "warm_up_end_schedule": "cron(0 18 ? * MON-FRI *)",
    "warm_up_timezone": "Europe/Berlin",
}


def lint(files: list[Path], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return what cfn-lint finds in templates with the project's .cfnlintrc; in-process: it starts slowly."""
    from cfnlint.config import ConfigMixIn
    from cfnlint.runner import Runner

    monkeypatch.chdir(ROOT)
    return [str(match) for match in Runner(ConfigMixIn([str(file) for file in files])).run()]


def as_list(value: Any) -> list[Any]:
    return cast(list[Any], value) if isinstance(value, list) else [value]


def plain_name(logical_id: str) -> str:
    """Return a logical id without CDK's hash, or the name of a pseudo parameter."""
    return re.sub("[0-9A-F]{8}$", "", logical_id.removeprefix("AWS::"))


def plain(value: Any) -> str:
    """Return an ARN or a reference as text, with `<LogicalId>` or `<AccountId>` for references."""
    if isinstance(value, str):
        return value
    if "Ref" in value:
        return f"<{plain_name(value['Ref'])}>"
    if "Fn::GetAtt" in value:
        return f"<{plain_name(value['Fn::GetAtt'][0])}>"
    if "Fn::Sub" in value:
        return re.sub(r"\$\{([^}]*)\}", lambda found: f"<{plain_name(found[1])}>", value["Fn::Sub"])
    return "".join(plain(part) for part in value["Fn::Join"][1])


def properties(template: Template, resource_type: str, prefix: str = "") -> dict[str, Any]:
    """Return the properties of the one resource of a type whose logical id has the prefix."""
    resources = template.find_resources(resource_type).items()
    found = [resource.get("Properties", {}) for logical_id, resource in resources if logical_id.startswith(prefix)]
    assert len(found) == 1, f"{len(found)} resources of type {resource_type} have the prefix {prefix!r}"
    return found[0]


def all_properties(template: Template, resource_type: str) -> list[dict[str, Any]]:
    """Return the properties of all resources of a type."""
    return [resource.get("Properties", {}) for resource in template.find_resources(resource_type).values()]


def policy_statements(template: Template, prefix: str, service: str) -> list[dict[str, Any]]:
    """Return the statements about a service in the inline policies whose logical ids have the prefix."""
    policies = template.find_resources("AWS::IAM::Policy")
    found = [
        statement
        for logical_id, policy in policies.items()
        if logical_id.startswith(prefix)
        for statement in policy["Properties"]["PolicyDocument"]["Statement"]
    ]
    return [statement for statement in found if f"{service}:" in str(statement["Action"])]
