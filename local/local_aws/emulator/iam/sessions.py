"""Sessions of assumed roles: authenticate a request's signature, and assume a role for a service."""

# pyright: reportPrivateUsage=false
# (moto keeps the access key of a request private)

import datetime as dt
import hmac
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

from botocore.auth import S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from moto.core.exceptions import JsonRESTError, _RESTError
from moto.iam.access_control import AssumedRoleAccessKey
from moto.iam.exceptions import NotFoundException
from moto.iam.models import IAMBackend, iam_backends
from moto.s3 import exceptions as s3_errors
from moto.sts.models import AssumedRole, sts_backends

from local_aws.emulator.account import ACCOUNT_ID, REGION
from local_aws.emulator.iam.context_keys import request_context
from local_aws.emulator.iam.policies import (
    Access,
    Caller,
    Context,
    Verdict,
    identity_verdict,
    resource_verdict,
    statements_of,
)

_MAX_PRESIGNED_SECONDS = 604_800  # a week


@dataclass(frozen=True)
class Session:
    """An authenticated role session, and the service that it calls."""

    caller: Caller
    role_name: str
    service: str
    context: Context = field(default_factory=dict[str, str])
    policy: str = ""  # the session policy that was given when the role was assumed
    credentials: dict[str, str] = field(default_factory=dict[str, str], repr=False)  # under boto3's argument names

    def policies(self) -> list[str]:
        """Return the role's current inline and attached policies as JSON."""
        role = _iam().get_role(self.role_name)
        attached = (policy.versions for policy in role.managed_policies.values())
        return [*role.policies.values()] + [
            version.document for versions in attached for version in versions if version.is_default
        ]

    def policy_allows(self, access: Access) -> bool:
        """Return whether the session policy allows `access`; True without one.

        It also limits what a resource policy grants; on AWS that is so only where the policy names the role.
        """
        return not self.policy or identity_verdict([self.policy], access) is Verdict.ALLOWED

    def boundary_allows(self, access: Access) -> bool:
        """Return whether the role's permissions boundary allows `access`.

        True without a boundary, False if its policy does not exist. It also limits what a resource policy grants; on
        AWS that is so only where the policy names the role, not the session.
        """
        arn = _iam().get_role(self.role_name).permissions_boundary_arn
        if not arn:
            return True
        policy = _iam().managed_policies.get(arn)
        documents = [version.document for version in policy.versions if version.is_default] if policy else []
        return identity_verdict(documents, access) is Verdict.ALLOWED


def _iam() -> IAMBackend:
    return iam_backends[ACCOUNT_ID]["aws"]


def is_anonymous(response: Any) -> bool:
    """Return whether the request is not signed."""
    return "Authorization" not in response.headers and "X-Amz-Credential" not in response.querystring


def is_form(response: Any) -> bool:
    """Return whether the request is in the form-encoded query protocol, whose errors are XML."""
    return "x-www-form-urlencoded" in response.headers.get("Content-Type", "")


def authenticate(response: Any, request_class: type) -> Session:
    """Return the role session that signed the request; raise the service's own error for a bad signature."""
    if "Authorization" not in response.headers:
        return _session(response, _presigned_by(response), "s3")
    # For an empty body moto signs the form's fields, or else only the parameter that its errors mention.
    request: Any = request_class(
        account_id=ACCOUNT_ID,
        method=response.method,
        path=response.raw_path + (f"?{response.parsed_url.query}" if response.parsed_url.query else ""),
        data=response.data if is_form(response) else {k: v for k, v in response.data.items() if k == "BucketName"},
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
        if service == "s3":
            raise s3_errors.S3ClientError("ExpiredToken", "The provided token has expired.")
        error_type = _RESTError if is_form(response) else JsonRESTError
        code = "ExpiredToken" if error_type is _RESTError else "ExpiredTokenException"
        error: Any = error_type(code, "The security token included in the request is expired")
        error.code = 403
        raise error
    role_name = assumed.role_arn.rpartition("/")[2]
    role = _iam().get_role(role_name)
    caller = Caller((assumed.arn, role.arn), ACCOUNT_ID)
    context, policy = request_context(response), assumed.policy or ""
    return Session(caller, role_name, service, context, policy, credentials_of(assumed))


def principal_context(session: Session) -> dict[str, str]:
    """Return the condition keys that describe a session's principal."""
    role = _iam().get_role(session.role_name)
    tags = {str(tag["Key"]).lower(): str(tag["Value"]) for tag in role.tags}
    return {
        "aws:principalaccount": ACCOUNT_ID,
        "aws:principalarn": role.arn,
        "aws:principaltype": "AssumedRole",
        "aws:userid": f"{role.id}:{session.caller.names[0].rpartition('/')[2]}",
        "aws:multifactorauthpresent": "false",
        **{f"aws:principaltag/{key}": value for key, value in tags.items()},
    }


def check_expiry(response: Any) -> None:
    """Raise S3's error for a presigned URL that has expired, or was to last for more than a week."""
    query = {name: values[0] for name, values in parse_qs(response.parsed_url.query).items()}
    seconds = int(query.get("X-Amz-Expires", "0"))
    if not 1 <= seconds <= _MAX_PRESIGNED_SECONDS:
        code = "AuthorizationQueryParametersError"
        raise s3_errors.S3ClientError(code, f"X-Amz-Expires must be 1 to {_MAX_PRESIGNED_SECONDS}, got {seconds}")
    signed = dt.datetime.strptime(query["X-Amz-Date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=dt.UTC)
    if dt.datetime.now(dt.UTC) > signed + dt.timedelta(seconds=seconds):
        raise s3_errors.S3ClientError("AccessDenied", "Request has expired")


def _presigned_by(response: Any) -> AssumedRole:
    """Return the role session that signed a presigned S3 URL (SigV4 in the query); raise S3's error if invalid."""
    query = {name: values[0] for name, values in parse_qs(response.parsed_url.query).items()}
    key_id, _, region, service, _ = query["X-Amz-Credential"].split("/")
    session = sts_backends[ACCOUNT_ID]["aws"].get_assumed_role_from_access_key(key_id)
    if session is None or session.session_token != query.get("X-Amz-Security-Token"):
        raise s3_errors.S3InvalidAccessKeyIdError()
    credentials = Credentials(session.access_key_id, session.secret_access_key, session.session_token)
    signer: Any = S3SigV4QueryAuth(credentials, service, region)
    unsigned = [pair for pair in response.parsed_url.query.split("&") if not pair.startswith("X-Amz-Signature=")]
    request: Any = AWSRequest(
        method=response.method,
        url=f"https://{response.headers['Host']}{response.raw_path}?{'&'.join(unsigned)}",
        headers={name: response.headers.get(name, "") for name in query["X-Amz-SignedHeaders"].split(";")},
    )
    request.context["timestamp"] = query["X-Amz-Date"]
    expected = signer.signature(signer.string_to_sign(request, signer.canonical_request(request)), request)
    if not hmac.compare_digest(expected, query.get("X-Amz-Signature", "")):
        raise s3_errors.S3SignatureDoesNotMatchError()
    return session


def trust_verdict(role_arn: str, access: Access, caller: Caller) -> Verdict:
    """Evaluate a role's trust policy for `caller`; raise moto's error if the role does not exist."""
    role = _iam().get_role(role_arn.rpartition("/")[2])
    return resource_verdict(role.assume_role_policy_document, access, caller)


def service_may_assume(role_arn: str, service: str) -> bool:
    """Return whether an existing role's trust policy allows a service; its conditions are not evaluated."""
    try:
        document = _iam().get_role(role_arn.rpartition("/")[2]).assume_role_policy_document
    except NotFoundException:
        return False
    bare: list[dict[str, Any]] = [{**statement, "Condition": {}} for statement in statements_of(document)]
    access = Access("sts:AssumeRole", role_arn)
    return (
        resource_verdict({"Statement": bare}, access, Caller((service,), ACCOUNT_ID, is_service=True))
        is Verdict.ALLOWED
    )


def max_session_seconds(role_arn: str) -> int:
    """Return the longest session of a role that a caller may ask for."""
    return int(_iam().get_role(role_arn.rpartition("/")[2]).max_session_duration or 3600)


def assume_role_for_service(
    role_arn: str, service: str, session_name: str, *, source_arn: str = "", duration_seconds: int = 3600
) -> dict[str, str]:
    """Assume a role as an AWS service does; return the credentials under boto3's argument names.

    Raise PermissionError unless the role's trust policy allows `service` (such as `sagemaker.amazonaws.com`) on behalf
    of `source_arn`.
    """
    context = {"aws:sourceaccount": ACCOUNT_ID} | ({"aws:sourcearn": source_arn} if source_arn else {})
    caller = Caller((service,), ACCOUNT_ID, is_service=True)
    if trust_verdict(role_arn, Access("sts:AssumeRole", role_arn, context), caller) is not Verdict.ALLOWED:
        raise PermissionError(f"the trust policy of {role_arn} must allow {service} to assume the role")
    session = sts_backends[ACCOUNT_ID]["aws"].assume_role(
        region_name=REGION,
        role_session_name=session_name,
        role_arn=role_arn,
        policy="",
        duration=duration_seconds,
        external_id="",
    )
    return credentials_of(session)


def credentials_of(session: AssumedRole) -> dict[str, str]:
    """Return a session's credentials under boto3's argument names."""
    return {
        "aws_access_key_id": session.access_key_id,
        "aws_secret_access_key": session.secret_access_key,
        "aws_session_token": session.session_token,
    }
