"""Changes of how a stack deploys that its template does not show: roles, tags, notifications, parameters, destinations.

They are in the cloud assembly's manifest, and `cdk deploy` obeys them.
"""

from collections.abc import Iterator

from stack_gate.diff.properties import ValueChange, leaves
from stack_gate.findings import Finding
from stack_gate.template import Stack

_ROLE = "another role deploys the stack or reads the account, with what that role may do"
# {property of the manifest: (class, why)}; what is not listed here is reported as unknown.
REASONS = {
    "assumeRoleArn": ("broaden", _ROLE),
    "assumeRoleExternalId": ("broaden", _ROLE),
    "assumeRoleAdditionalOptions": ("broaden", _ROLE),
    "cloudFormationExecutionRoleArn": ("broaden", _ROLE),
    "lookupRole": ("broaden", _ROLE),
    "notificationArns": (
        "exposure",
        "CloudFormation sends every stack event, with resource properties, to these topics",
    ),
    "assetDestinations": ("exposure", "code and templates are published elsewhere, or by another role"),
    "tags": ("unknown", "stack tags reach every resource, and policies and budgets may depend on them"),
    "parameters": ("unknown", "parameter values given at deployment decide what the template means"),
}
# The order of deployment, and where the bootstrap version is looked up: both fail rather than weaken.
HARMLESS = ("additionalDependencies", "requiresBootstrapStackVersion", "displayName")


def find_deployment_changes(base: Stack, head: Stack, *, is_new: bool = False) -> Iterator[Finding]:
    """Yield a finding for every such change. A new stack is compared with none, except for its roles."""
    names = sorted((base.deployment.keys() | head.deployment.keys()) - set(HARMLESS))
    for name in names:
        old, new = base.deployment.get(name), head.deployment.get(name)
        if is_new and name in ("bootstrapStackVersionSsmParameter", "assetDestinations"):
            continue
        class_name, why = REASONS.get(name, ("unknown", "no rule says what it does to the deployment"))
        for leaf in leaves(ValueChange((name,), old, new)):
            yield Finding(class_name=class_name, resource="", what=leaf.describe(), why=why)
