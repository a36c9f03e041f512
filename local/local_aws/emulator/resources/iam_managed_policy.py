"""AWS::IAM::ManagedPolicy."""

from __future__ import annotations

from local_aws.emulator.resources.base import Context, Handler, Outcome, Properties, document, require_known
from local_aws.emulator.resources.conform import call

_KNOWN = frozenset({"Description", "ManagedPolicyName", "Path", "PolicyDocument", "Roles"})


class ManagedPolicy(Handler):
    """A policy of its own; `Ref` is its ARN."""

    types = ("AWS::IAM::ManagedPolicy",)
    immutable = frozenset({"Description", "ManagedPolicyName", "Path"})

    def create(self, context: Context, properties: Properties) -> Outcome:
        require_known(properties, _KNOWN)
        settings = {key: properties[key] for key in ("Description", "Path") if key in properties}
        settings["PolicyName"] = properties.get("ManagedPolicyName") or context.new_name(128)
        settings["PolicyDocument"] = document(properties["PolicyDocument"])
        arn = call(context, "iam", "CreatePolicy", settings)["Policy"]["Arn"]
        for role in properties.get("Roles", []):
            context.client("iam").attach_role_policy(RoleName=role, PolicyArn=arn)
        return Outcome(arn, {"PolicyArn": arn})

    def update(self, context: Context, physical_id: str, old: Properties, new: Properties) -> Outcome:
        require_known(new, _KNOWN)
        iam = context.client("iam")
        if old.get("PolicyDocument") != new.get("PolicyDocument"):
            content = document(new["PolicyDocument"])
            iam.create_policy_version(PolicyArn=physical_id, PolicyDocument=content, SetAsDefault=True)
            _delete_versions(context, physical_id)  # IAM keeps five at most
        before, after = set(old.get("Roles", [])), set(new.get("Roles", []))
        for role in after - before:
            iam.attach_role_policy(RoleName=role, PolicyArn=physical_id)
        for role in before - after:
            iam.detach_role_policy(RoleName=role, PolicyArn=physical_id)
        return Outcome(physical_id, {"PolicyArn": physical_id})

    def delete(self, context: Context, physical_id: str, properties: Properties) -> None:
        iam = context.client("iam")
        for role in properties.get("Roles", []):
            iam.detach_role_policy(RoleName=role, PolicyArn=physical_id)
        _delete_versions(context, physical_id)
        iam.delete_policy(PolicyArn=physical_id)


def _delete_versions(context: Context, arn: str) -> None:
    iam = context.client("iam")
    for version in iam.list_policy_versions(PolicyArn=arn)["Versions"]:
        if not version["IsDefaultVersion"]:
            iam.delete_policy_version(PolicyArn=arn, VersionId=version["VersionId"])
