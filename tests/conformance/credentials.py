"""Clients with a role's permissions, for rows about who may do what."""

from typing import Any

from conformance.workspace import Workspace


def client_with(workspace: Workspace, service: str, statements: list[dict[str, Any]]) -> Any:
    """Return a client with the permissions of a new role that has these statements, and no others."""
    principal = {"AWS": f"arn:aws:iam::{workspace.target.account_id}:root"}
    trust = {"Effect": "Allow", "Principal": principal, "Action": "sts:AssumeRole"}
    role = workspace.role_trusting(trust, statements)
    session = workspace.client("sts").assume_role(RoleArn=role, RoleSessionName="conformance")
    keys = session["Credentials"]
    return workspace.client(
        service,
        aws_access_key_id=keys["AccessKeyId"],
        aws_secret_access_key=keys["SecretAccessKey"],
        aws_session_token=keys["SessionToken"],
    )
