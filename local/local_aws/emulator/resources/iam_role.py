"""AWS::IAM::Role."""

from __future__ import annotations

from typing import Any

from local_aws.emulator.resources.base import Context, Handler, Outcome, Properties, document, require_known
from local_aws.emulator.resources.conform import call

_CREATE = ("Description", "MaxSessionDuration", "Path", "PermissionsBoundary", "Tags")
_KNOWN = frozenset(_CREATE) | {"AssumeRolePolicyDocument", "ManagedPolicyArns", "Policies", "RoleName"}


class Role(Handler):
    """A role with its inline and attached policies; `Ref` is its name."""

    types = ("AWS::IAM::Role",)
    immutable = frozenset({"RoleName", "Path"})

    def create(self, context: Context, properties: Properties) -> Outcome:
        require_known(properties, _KNOWN)
        name = properties.get("RoleName") or context.new_name()
        settings = {key: properties[key] for key in _CREATE if key in properties}
        trust = document(properties["AssumeRolePolicyDocument"])
        call(context, "iam", "CreateRole", {"RoleName": name, "AssumeRolePolicyDocument": trust, **settings})
        _set_policies(context, name, {}, properties)
        return self._outcome(context, name)

    def update(self, context: Context, physical_id: str, old: Properties, new: Properties) -> Outcome:
        require_known(new, _KNOWN)
        iam = context.client("iam")
        trust = document(new["AssumeRolePolicyDocument"])
        iam.update_assume_role_policy(RoleName=physical_id, PolicyDocument=trust)
        settings = {key: new[key] for key in ("Description", "MaxSessionDuration") if key in new}
        call(context, "iam", "UpdateRole", {"RoleName": physical_id, **settings})
        removed = [tag["Key"] for tag in old.get("Tags", [])]
        if removed:
            iam.untag_role(RoleName=physical_id, TagKeys=removed)
        if new.get("Tags"):
            iam.tag_role(RoleName=physical_id, Tags=new["Tags"])
        _set_boundary(context, physical_id, old, new)
        _set_policies(context, physical_id, old, new)
        return self._outcome(context, physical_id)

    def delete(self, context: Context, physical_id: str, properties: Properties) -> None:
        _set_policies(context, physical_id, properties, {})
        context.client("iam").delete_role(RoleName=physical_id)

    def _outcome(self, context: Context, name: str) -> Outcome:
        role: dict[str, Any] = context.client("iam").get_role(RoleName=name)["Role"]
        return Outcome(name, {"Arn": role["Arn"], "RoleId": role["RoleId"]})


def _set_boundary(context: Context, role: str, old: Properties, new: Properties) -> None:
    boundary = new.get("PermissionsBoundary")
    if boundary and boundary != old.get("PermissionsBoundary"):
        context.client("iam").put_role_permissions_boundary(RoleName=role, PermissionsBoundary=boundary)
    elif not boundary and old.get("PermissionsBoundary"):
        context.client("iam").delete_role_permissions_boundary(RoleName=role)


def _set_policies(context: Context, role: str, old: Properties, new: Properties) -> None:
    iam = context.client("iam")
    inline = {policy["PolicyName"]: policy["PolicyDocument"] for policy in new.get("Policies", [])}
    for name, content in inline.items():
        iam.put_role_policy(RoleName=role, PolicyName=name, PolicyDocument=document(content))
    for name in {policy["PolicyName"] for policy in old.get("Policies", [])} - set(inline):
        iam.delete_role_policy(RoleName=role, PolicyName=name)
    before, after = set(old.get("ManagedPolicyArns", [])), set(new.get("ManagedPolicyArns", []))
    for arn in after - before:
        iam.attach_role_policy(RoleName=role, PolicyArn=arn)
    for arn in before - after:
        iam.detach_role_policy(RoleName=role, PolicyArn=arn)
