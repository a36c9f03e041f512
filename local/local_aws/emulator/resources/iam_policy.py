"""AWS::IAM::Policy."""

from __future__ import annotations

from local_aws.emulator.resources.base import Context, Handler, Outcome, Properties, document, require_known

_KNOWN = frozenset({"PolicyName", "PolicyDocument", "Roles"})


class Policy(Handler):
    """An inline policy that is put into roles; `Ref` is a name that CloudFormation makes up."""

    types = ("AWS::IAM::Policy",)
    immutable = frozenset({"PolicyName"})

    def create(self, context: Context, properties: Properties) -> Outcome:
        return self.update(context, context.new_name(32), {}, properties)

    def update(self, context: Context, physical_id: str, old: Properties, new: Properties) -> Outcome:
        require_known(new, _KNOWN)
        iam, name = context.client("iam"), new["PolicyName"]
        for role in new.get("Roles", []):
            iam.put_role_policy(RoleName=role, PolicyName=name, PolicyDocument=document(new["PolicyDocument"]))
        for role in set(old.get("Roles", [])) - set(new.get("Roles", [])):
            iam.delete_role_policy(RoleName=role, PolicyName=name)
        return Outcome(physical_id)

    def delete(self, context: Context, physical_id: str, properties: Properties) -> None:
        for role in properties.get("Roles", []):
            context.client("iam").delete_role_policy(RoleName=role, PolicyName=properties["PolicyName"])
