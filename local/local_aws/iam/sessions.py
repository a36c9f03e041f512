"""Sessions of assumed roles: whose they are, whether the request is really theirs, and what they may do."""

# pyright: reportPrivateUsage=false
# (moto's request keeps the key that it found private)
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from moto.iam.access_control import AssumedRoleAccessKey
from moto.iam.models import iam_backends
from moto.sts.models import sts_backends

from local_aws.account import ACCOUNT_ID
from local_aws.iam.policies import Access, Caller, Verdict, resource_verdict
from local_aws.iam.presigned import presigned_by


@dataclass(frozen=True)
class Session:
    """An authenticated role session, and the service that it calls."""

    caller: Caller
    role_name: str
    service: str
    context: Mapping[str, str] = field(default_factory=dict[str, str])

    def policies(self) -> list[str]:
        """The role's inline and attached policies as they are now, as JSON."""
        role = iam_backends[ACCOUNT_ID]["aws"].get_role(self.role_name)
        attached = (policy.versions for policy in role.managed_policies.values())
        return [*role.policies.values()] + [
            version.document for versions in attached for version in versions if version.is_default
        ]


def is_anonymous(response: Any) -> bool:
    """Whether the request carries no signature at all."""
    return "Authorization" not in response.headers and "X-Amz-Credential" not in response.querystring


def authenticate(response: Any, request_class: type) -> Session:
    """The role session that signed the request; the service's own error if the signature is not right."""
    if "Authorization" not in response.headers:
        signer = presigned_by(response)
        return _session(response, signer.role_arn.rpartition("/")[2], signer.arn, "s3")
    path = response.raw_path + (f"?{response.parsed_url.query}" if response.parsed_url.query else "")
    request: Any = request_class(
        account_id=ACCOUNT_ID,
        method=response.method,
        path=path,
        data=response.data,
        body=response.raw_body,
        headers=response.headers,
        action=response._get_action() or "Unknown",
    )
    request.check_signature()
    key: Any = request._access_key
    if not isinstance(key, AssumedRoleAccessKey):
        request._raise_access_denied()
    return _session(response, key._owner_role_name, key.arn, request._service)


def _session(response: Any, role_name: str, session_arn: str, service: str) -> Session:
    role = iam_backends[ACCOUNT_ID]["aws"].get_role(role_name)
    context = {
        "aws:securetransport": "true" if str(response.uri).startswith("https:") else "false",
        "aws:principalarn": role.arn,
    }
    return Session(Caller((session_arn, role.arn), ACCOUNT_ID), role_name, service, context)


def assume_role_for_service(
    role_arn: str, service: str, session_name: str, *, source_arn: str = "", duration_seconds: int = 3600
) -> dict[str, str]:
    """Credentials of a role as an AWS service gets them; boto3's argument names.

    Unlike the administrator, who may assume any role here, a service is held to the role's trust policy:
    PermissionError if that does not let `service` (as `sagemaker.amazonaws.com`) in for `source_arn`.
    """
    name = role_arn.rpartition("/")[2]
    role = iam_backends[ACCOUNT_ID]["aws"].get_role(name)
    context = {"aws:sourceaccount": ACCOUNT_ID} | ({"aws:sourcearn": source_arn} if source_arn else {})
    caller = Caller((service,), ACCOUNT_ID, is_service=True)
    trust = role.assume_role_policy_document
    if resource_verdict(trust, Access("sts:AssumeRole", role_arn, context), caller) is not Verdict.ALLOWED:
        raise PermissionError(f"the trust policy of {role_arn} must allow {service} to assume the role")
    session = sts_backends[ACCOUNT_ID]["aws"].assume_role(
        region_name="us-east-1",
        role_session_name=session_name,
        role_arn=role_arn,
        policy="",
        duration=duration_seconds,
        external_id="",
    )
    return {
        "aws_access_key_id": session.access_key_id,
        "aws_secret_access_key": session.secret_access_key,
        "aws_session_token": session.session_token,
    }
