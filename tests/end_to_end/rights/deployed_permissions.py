"""The permissions that a deployed stack grants, and a way to remove some of them temporarily."""

import json
import re
from collections.abc import Callable, Collection, Generator, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from local_aws.emulator.process import LocalAws

# IAM rejects a policy without statements; every principal may do this anyway.
_NOTHING = {"Effect": "Allow", "Action": "sts:GetCallerIdentity", "Resource": "*"}
# Types of resources that policies name.
_NAMED = frozenset(
    {"AWS::S3::Bucket", "AWS::SNS::Topic", "AWS::Logs::LogGroup", "AWS::IAM::Role", "AWS::Lambda::Function"}
)


@dataclass(frozen=True)
class Permission:
    """An action that a principal may perform on a resource, written with the stack's logical names."""

    principal: str
    action: str
    resource: str


@dataclass(frozen=True)
class _Document:
    """A deployed policy, its principal, and a function that replaces it."""

    principal: str
    content: dict[str, Any]
    write: Callable[[str], None]


class DeployedPermissions:
    """The identity policies of every role and every managed policy of a stack."""

    def __init__(self, aws: LocalAws, stack: str) -> None:
        self._iam = aws.client("iam")
        pages = aws.client("cloudformation").get_paginator("list_stack_resources").paginate(StackName=stack)
        self._resources = [item for page in pages for item in page["StackResourceSummaries"]]
        self._names = {
            item["PhysicalResourceId"]: _name(item) for item in self._resources if item["ResourceType"] in _NAMED
        }

    def physical(self, name: str) -> str:
        """Return the physical id of the resource with this logical name, without hash."""
        (found,) = (physical for physical, logical in self._names.items() if logical == name)
        return found

    def all(self) -> set[Permission]:
        """Return every permission that a policy of the stack grants."""
        return {
            Permission(document.principal, action, self._shown(resource))
            for document in self._documents()
            for statement in document.content["Statement"]
            if statement["Effect"] == "Allow"
            for action in _listed(statement["Action"])
            for resource in _listed(statement["Resource"])
        }

    @contextmanager
    def without(self, permissions: Collection[Permission]) -> Generator[None]:
        """Remove permissions from the deployed policies, and restore the policies at the end."""
        with ExitStack() as restored:
            for document in self._documents():
                kept = [
                    part
                    for s in document.content["Statement"]
                    for part in self._kept(document.principal, s, permissions)
                ]
                if kept != document.content["Statement"]:
                    restored.callback(document.write, json.dumps(document.content))
                    document.write(json.dumps({**document.content, "Statement": kept or [_NOTHING]}))
            yield

    def _kept(
        self, principal: str, statement: dict[str, Any], permissions: Collection[Permission]
    ) -> list[dict[str, Any]]:
        """Return the statement if it keeps all its permissions, else one statement per action that keeps a resource."""
        if statement["Effect"] != "Allow":
            return [statement]
        actions, resources = _listed(statement["Action"]), _listed(statement["Resource"])
        left = {
            a: [r for r in resources if Permission(principal, a, self._shown(r)) not in permissions] for a in actions
        }
        if all(len(kept) == len(resources) for kept in left.values()):
            return [statement]
        return [{**statement, "Action": action, "Resource": kept} for action, kept in left.items() if kept]

    def _shown(self, arn: str) -> str:
        for physical, logical in self._names.items():
            arn = re.sub(rf"^(arn:aws:s3:::)?{re.escape(physical)}(?=$|/)", f"<{logical}>", arn)
            arn = re.sub(rf"^arn:aws:(logs|lambda):.*:{re.escape(physical)}(?=$|:)", f"<{logical}>", arn)
        return re.sub(r"[0-9a-f]{64}(?=\.zip$)", "<asset>", arn)

    def _documents(self) -> Iterator[_Document]:
        for item in self._resources:
            if item["ResourceType"] == "AWS::IAM::Role":
                yield from self._of_role(_name(item), item["PhysicalResourceId"])
            elif item["ResourceType"] == "AWS::IAM::ManagedPolicy":
                yield self._of_managed_policy(_name(item), item["PhysicalResourceId"])

    def _of_role(self, name: str, role: str) -> Iterator[_Document]:
        for policy in self._iam.list_role_policies(RoleName=role)["PolicyNames"]:
            content = self._iam.get_role_policy(RoleName=role, PolicyName=policy)["PolicyDocument"]

            def write(text: str, policy: str = policy) -> None:
                self._iam.put_role_policy(RoleName=role, PolicyName=policy, PolicyDocument=text)

            yield _Document(name, content, write)

    def _of_managed_policy(self, name: str, arn: str) -> _Document:
        version = self._iam.get_policy(PolicyArn=arn)["Policy"]["DefaultVersionId"]
        content = self._iam.get_policy_version(PolicyArn=arn, VersionId=version)["PolicyVersion"]["Document"]

        def write(text: str) -> None:
            self._iam.create_policy_version(PolicyArn=arn, PolicyDocument=text, SetAsDefault=True)
            for old in self._iam.list_policy_versions(PolicyArn=arn)["Versions"]:
                if not old["IsDefaultVersion"]:  # IAM keeps at most five
                    self._iam.delete_policy_version(PolicyArn=arn, VersionId=old["VersionId"])

        return _Document(name, content, write)


def _name(item: dict[str, Any]) -> str:
    return re.sub("[0-9A-F]{8}$", "", item["LogicalResourceId"])


def _listed(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else list(value)
