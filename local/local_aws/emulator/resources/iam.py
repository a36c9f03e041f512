"""AWS::IAM::Role, Policy and ManagedPolicy."""

from typing import Any

from local_aws.emulator.resources.base import Context, Handler, Outcome, Properties, pick, policy_json

_CREATE_ROLE = ("Description", "MaxSessionDuration", "Path", "PermissionsBoundary", "Tags")


class Role(Handler):
    """A role with its inline and attached policies; `Ref` is its name."""

    types = ("AWS::IAM::Role",)
    taggable = True
    properties = frozenset({*_CREATE_ROLE, "AssumeRolePolicyDocument", "ManagedPolicyArns", "Policies", "RoleName"})
    immutable = frozenset({"RoleName", "Path"})

    def create(self, context: Context, properties: Properties) -> Outcome:
        name = properties.get("RoleName") or context.new_name()
        trust = policy_json(properties["AssumeRolePolicyDocument"])
        settings = {"RoleName": name, "AssumeRolePolicyDocument": trust, **pick(properties, *_CREATE_ROLE)}
        context.call("iam", "CreateRole", settings)
        _set_policies(context, name, {}, properties)
        return _role_outcome(context, name)

    def update(self, context: Context, physical_id: str, old: Properties, new: Properties) -> Outcome:
        iam = context.client("iam")
        trust = policy_json(new["AssumeRolePolicyDocument"])
        iam.update_assume_role_policy(RoleName=physical_id, PolicyDocument=trust)
        settings = pick(new, "Description", "MaxSessionDuration")
        context.call("iam", "UpdateRole", {"RoleName": physical_id, **settings})
        context.replace_tags("iam", {"RoleName": physical_id}, old, new, ("UntagRole", "TagRole"))
        boundary, previous = new.get("PermissionsBoundary"), old.get("PermissionsBoundary")
        if boundary and boundary != previous:
            iam.put_role_permissions_boundary(RoleName=physical_id, PermissionsBoundary=boundary)
        elif previous and not boundary:
            iam.delete_role_permissions_boundary(RoleName=physical_id)
        _set_policies(context, physical_id, old, new)
        return _role_outcome(context, physical_id)

    def delete(self, context: Context, physical_id: str, properties: Properties) -> None:
        _set_policies(context, physical_id, properties, {})
        context.client("iam").delete_role(RoleName=physical_id)


def _role_outcome(context: Context, name: str) -> Outcome:
    role: dict[str, Any] = context.client("iam").get_role(RoleName=name)["Role"]
    return Outcome(name, {"Arn": role["Arn"], "RoleId": role["RoleId"]})


def _set_policies(context: Context, role: str, old: Properties, new: Properties) -> None:
    iam = context.client("iam")
    inline = {policy["PolicyName"]: policy["PolicyDocument"] for policy in new.get("Policies", [])}
    for name, content in inline.items():
        iam.put_role_policy(RoleName=role, PolicyName=name, PolicyDocument=policy_json(content))
    for name in {policy["PolicyName"] for policy in old.get("Policies", [])} - set(inline):
        iam.delete_role_policy(RoleName=role, PolicyName=name)
    before, after = ({(role, arn) for arn in properties.get("ManagedPolicyArns", [])} for properties in (old, new))
    _set_attachments(context, before, after)


def _set_attachments(context: Context, before: set[tuple[str, str]], after: set[tuple[str, str]]) -> None:
    """Attach and detach managed policies, given as pairs of role name and policy ARN."""
    iam = context.client("iam")
    for role, arn in after - before:
        iam.attach_role_policy(RoleName=role, PolicyArn=arn)
    for role, arn in before - after:
        iam.detach_role_policy(RoleName=role, PolicyArn=arn)


class Policy(Handler):
    """An inline policy put into roles; `Ref` is a generated name."""

    types = ("AWS::IAM::Policy",)
    name = ("", 32)
    properties = frozenset({"PolicyName", "PolicyDocument", "Roles"})
    immutable = frozenset({"PolicyName"})

    def update(self, context: Context, physical_id: str, old: Properties, new: Properties) -> Outcome:
        iam, name = context.client("iam"), new["PolicyName"]
        for role in new.get("Roles", []):
            iam.put_role_policy(RoleName=role, PolicyName=name, PolicyDocument=policy_json(new["PolicyDocument"]))
        for role in set(old.get("Roles", [])) - set(new.get("Roles", [])):
            iam.delete_role_policy(RoleName=role, PolicyName=name)
        return Outcome(physical_id)

    def delete(self, context: Context, physical_id: str, properties: Properties) -> None:
        for role in properties.get("Roles", []):
            context.client("iam").delete_role_policy(RoleName=role, PolicyName=properties["PolicyName"])


class ManagedPolicy(Handler):
    """A customer managed policy; `Ref` is its ARN."""

    types = ("AWS::IAM::ManagedPolicy",)
    properties = frozenset({"Description", "ManagedPolicyName", "Path", "PolicyDocument", "Roles"})
    immutable = frozenset({"Description", "ManagedPolicyName", "Path"})

    def create(self, context: Context, properties: Properties) -> Outcome:
        settings = pick(properties, "Description", "Path")
        settings["PolicyName"] = properties.get("ManagedPolicyName") or context.new_name(128)
        settings["PolicyDocument"] = policy_json(properties["PolicyDocument"])
        arn = context.call("iam", "CreatePolicy", settings)["Policy"]["Arn"]
        for role in properties.get("Roles", []):
            context.client("iam").attach_role_policy(RoleName=role, PolicyArn=arn)
        return Outcome(arn, {"PolicyArn": arn})

    def update(self, context: Context, physical_id: str, old: Properties, new: Properties) -> Outcome:
        iam = context.client("iam")
        if old.get("PolicyDocument") != new.get("PolicyDocument"):
            content = policy_json(new["PolicyDocument"])
            iam.create_policy_version(PolicyArn=physical_id, PolicyDocument=content, SetAsDefault=True)
            _delete_old_versions(context, physical_id)  # IAM keeps at most five
        before, after = ({(role, physical_id) for role in properties.get("Roles", [])} for properties in (old, new))
        _set_attachments(context, before, after)
        return Outcome(physical_id, {"PolicyArn": physical_id})

    def delete(self, context: Context, physical_id: str, properties: Properties) -> None:
        iam = context.client("iam")
        for role in properties.get("Roles", []):
            iam.detach_role_policy(RoleName=role, PolicyArn=physical_id)
        _delete_old_versions(context, physical_id)
        iam.delete_policy(PolicyArn=physical_id)


def _delete_old_versions(context: Context, arn: str) -> None:
    iam = context.client("iam")
    for version in iam.list_policy_versions(PolicyArn=arn)["Versions"]:
        if not version["IsDefaultVersion"]:
            iam.delete_policy_version(PolicyArn=arn, VersionId=version["VersionId"])
