"""Sessions of assumed roles: whose they are, whether the request is really theirs, and what they may do."""

# pyright: reportPrivateUsage=false
# (moto's request keeps the key that it found private)
from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from moto.core.exceptions import JsonRESTError, _RESTError
from moto.iam.access_control import AssumedRoleAccessKey
from moto.iam.models import iam_backends
from moto.s3.exceptions import S3ClientError
from moto.sts.models import AssumedRole, sts_backends

from local_aws.emulator.account import ACCOUNT_ID
from local_aws.emulator.iam.policies import Access, Caller, Verdict
from local_aws.emulator.iam.presigned import presigned_by
from local_aws.emulator.iam.trust import trust_verdict


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
        return _session(response, presigned_by(response), "s3")
    path = response.raw_path + (f"?{response.parsed_url.query}" if response.parsed_url.query else "")
    request: Any = request_class(
        account_id=ACCOUNT_ID,
        method=response.method,
        path=path,
        data=_signed_data(response),
        body=response.raw_body,
        headers=response.headers,
        action=response._get_action() or "Unknown",
    )
    request.check_signature()
    key: Any = request._access_key
    if not isinstance(key, AssumedRoleAccessKey):
        request._raise_access_denied()
    assumed = sts_backends[ACCOUNT_ID]["aws"].get_assumed_role_from_access_key(key._access_key_id)
    assert assumed is not None  # moto has just found it
    return _session(response, assumed, request._service)


def _session(response: Any, assumed: AssumedRole, service: str) -> Session:
    if dt.datetime.now(dt.UTC) > assumed.expiration.replace(tzinfo=dt.UTC):
        _raise_expired(response, service)
    role_name = assumed.role_arn.rpartition("/")[2]
    role = iam_backends[ACCOUNT_ID]["aws"].get_role(role_name)
    context = {
        "aws:securetransport": "true" if str(response.uri).startswith("https:") else "false",
        "aws:principalarn": role.arn,
    }
    return Session(Caller((assumed.arn, role.arn), ACCOUNT_ID), role_name, service, context)


def _signed_data(response: Any) -> dict[str, Any]:
    """What moto signs in the place of an empty body: a form's fields, and else nothing but what its errors mention."""
    if "x-www-form-urlencoded" in response.headers.get("Content-Type", ""):
        return response.data
    return {name: response.data[name] for name in ("BucketName",) if name in response.data}


def _raise_expired(response: Any, service: str) -> None:
    message = "The security token included in the request is expired"
    if service == "s3":
        raise S3ClientError("ExpiredToken", "The provided token has expired.")
    if "x-www-form-urlencoded" in response.headers.get("Content-Type", ""):
        error: Any = _RESTError("ExpiredToken", message)
    else:
        error = JsonRESTError("ExpiredTokenException", message)
    error.code = 403
    raise error


def assume_role_for_service(
    role_arn: str, service: str, session_name: str, *, source_arn: str = "", duration_seconds: int = 3600
) -> dict[str, str]:
    """Credentials of a role as an AWS service gets them; boto3's argument names.

    Unlike the administrator, who may assume any role here, a service is held to the role's trust policy:
    PermissionError if that does not let `service` (as `sagemaker.amazonaws.com`) in for `source_arn`.
    """
    context = {"aws:sourceaccount": ACCOUNT_ID} | ({"aws:sourcearn": source_arn} if source_arn else {})
    caller = Caller((service,), ACCOUNT_ID, is_service=True)
    if trust_verdict(role_arn, Access("sts:AssumeRole", role_arn, context), caller) is not Verdict.ALLOWED:
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
