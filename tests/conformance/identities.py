"""Role sessions with exactly the permissions that a test names, and what they may do in a bucket."""

from collections.abc import Callable
from typing import Any

from botocore.exceptions import ClientError

from conformance.workspace import Workspace, allow, policy

DENIALS = ("AccessDenied", "AccessDeniedException", "403")


class Identities:
    """A bucket with the objects `in/a` and `out/a`, and roles of the account that may be assumed."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self.bucket = workspace.bucket()
        self.arn = f"arn:aws:s3:::{self.bucket}"
        for key in ("in/a", "out/a"):
            workspace.client("s3").put_object(Bucket=self.bucket, Key=key, Body=b"x")
        self.everything = [allow("s3:*", resource=[self.arn, f"{self.arn}/*"])]
        self._shared = ""

    def role(self, *statements: dict[str, Any], condition: dict[str, Any] | None = None, **arguments: Any) -> str:
        """Create a role that the account may assume, under a condition; return its ARN."""
        trust: dict[str, Any] = {
            "Effect": "Allow",
            "Principal": {"AWS": f"arn:aws:iam::{self.workspace.target.account_id}:root"},
            "Action": "sts:AssumeRole",
        }
        if condition:
            trust["Condition"] = condition
        return self.workspace.role_trusting(trust, list(statements), **arguments)

    def assume(self, role: str, **arguments: Any) -> dict[str, Any]:
        """Assume a role as the administrator; return the answer of AssumeRole."""
        return self.workspace.client("sts").assume_role(RoleArn=role, **{"RoleSessionName": "session", **arguments})

    def client(self, service: str, role: str, **arguments: Any) -> Any:
        """Return a client of a session of `role`."""
        keys = self.assume(role, **arguments)["Credentials"]
        return self.workspace.client(
            service,
            aws_access_key_id=keys["AccessKeyId"],
            aws_secret_access_key=keys["SecretAccessKey"],
            aws_session_token=keys["SessionToken"],
        )

    def within(self, *statements: dict[str, Any]) -> Any:
        """Return an S3 client that may do in the bucket what these statements allow: a role's session policy."""
        if not self._shared:
            self._shared = self.role(*self.everything)
            name = self._shared.rpartition("/")[2]
            self.workspace.client("iam").tag_role(RoleName=name, Tags=[{"Key": "Team", "Value": "in"}])
        return self.client("s3", self._shared, Policy=policy(list(statements)))

    def reads(self, s3: Any, key: str = "in/a") -> bool:
        """Return whether the client may read an object."""
        return permitted(lambda: s3.get_object(Bucket=self.bucket, Key=key))

    def lists(self, s3: Any, **arguments: Any) -> bool:
        """Return whether the client may list the bucket."""
        return permitted(lambda: s3.list_objects_v2(Bucket=self.bucket, **arguments))

    def reads_if(self, condition: dict[str, Any]) -> bool:
        """Return whether a session may read an object that its policy allows under this condition."""
        return self.reads(self.within({**allow("s3:GetObject", resource=f"{self.arn}/*"), "Condition": condition}))

    def lists_if(self, condition: dict[str, Any], **arguments: Any) -> bool:
        """Return whether a session may list the bucket, which its policy allows under this condition."""
        statement = {**allow("s3:ListBucket", resource=self.arn), "Condition": condition}
        return self.lists(self.within(statement), **arguments)


def permitted(call: Callable[[], Any]) -> bool:
    """Return whether the call succeeds; False if it is denied. Any other error is raised."""
    try:
        call()
    except ClientError as error:
        if error.response.get("Error", {}).get("Code") in DENIALS:
            return False
        raise
    return True
