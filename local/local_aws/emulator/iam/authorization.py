"""Authorise every request to the embedded AWS before moto handles it.

The administrator's key may do everything but assume a role that does not trust the account. A role's session is checked
against the policies deployed on the role and on the resource. Any other caller is refused, except for an S3 object
whose bucket policy is public and whose bucket does not restrict public access.
"""

import threading
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from moto.core.exceptions import AccessDeniedError, JsonRESTError
from moto.iam.access_control import PermissionResult
from moto.s3.exceptions import BucketAccessDeniedError, S3AccessDeniedError, S3ClientError
from moto.s3.models import FakeBucket, s3_backends
from moto.sns.models import sns_backends
from moto.sqs.models import sqs_backends

from local_aws.emulator.account import ACCOUNT_ID, ROOT_ACCESS_KEY_ID
from local_aws.emulator.iam import public_access, web_identity
from local_aws.emulator.iam.actions import required_access
from local_aws.emulator.iam.assume_role import administrator_may_assume, assume_role_verdict, check_session
from local_aws.emulator.iam.conditions import UnsupportedConditionError
from local_aws.emulator.iam.policies import Access, Caller, Verdict, identity_verdict, resource_verdict
from local_aws.emulator.iam.sessions import (
    Session,
    authenticate,
    check_expiry,
    is_anonymous,
    is_form,
    principal_context,
    url_query,
)

_ADMINISTRATOR = f"arn:aws:iam::{ACCOUNT_ID}:root"
_current = threading.local()  # `session`: who sends the request that this thread is answering, once authenticated


def middleware(app: Callable[..., Iterable[bytes]]) -> Callable[..., Iterable[bytes]]:
    """Forget the previous request's session: a thread serves one request after another."""

    def handle(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        _current.session = None
        return app(environ, start_response)

    return handle


def authorize(response: Any, request_class: type, resource: str = "*") -> None:
    """Return if the request is allowed, raise the service's own error if not. moto calls this."""
    query = url_query(response)
    presigned = query.get("X-Amz-Credential", "")
    if presigned:
        check_expiry(response)
    credential = response.headers.get("Authorization") or (f"Credential={presigned}" if presigned else "")
    signed_v2 = query.get("AWSAccessKeyId", "") if response.service_name == "s3" else ""  # version 1's `aws s3 presign`
    if f"Credential={ROOT_ACCESS_KEY_ID}/" in credential or signed_v2 == ROOT_ACCESS_KEY_ID:
        if response.service_name == "sts" and response._get_action() == "AssumeRole":
            (access,) = required_access(response, "sts", resource)
            if not administrator_may_assume(access):
                raise AccessDeniedError(_ADMINISTRATOR, f"{access.action} on resource: {access.resource}")
            check_session(response, chained=False)
        return
    if response.service_name == "sts" and response._get_action() == "AssumeRoleWithWebIdentity":
        web_identity.authorize(response)  # its token is all that the caller shows
        return
    if is_anonymous(response):
        _authorize_anonymous(response, resource)
        return
    session = authenticate(response, request_class)
    _current.session = session
    for access in required_access(response, session.service, resource):
        # For a bulk deletion, moto asks `bucket_permission` about each key; the bucket itself is not deleted.
        is_bulk = access.action == "s3:DeleteObject" and "/" not in access.resource
        if not is_bulk and not (access.action == "sts:GetCallerIdentity" or is_allowed(session, access)):
            _deny(response, session, access)
        _hide_absence(response, session, access)
        if access.action == "sts:AssumeRole":
            check_session(response, chained=True)


def caller_credentials() -> dict[str, str] | None:
    """Return the credentials that signed the request of this thread; None if they are the administrator's."""
    session: Session | None = getattr(_current, "session", None)
    return session.credentials if session else None


def bucket_permission(bucket: FakeBucket, action: str, resource: str) -> PermissionResult:
    """Decide on each key of a bulk deletion; moto also calls this in other requests, before authentication."""
    session: Session | None = getattr(_current, "session", None)
    if session is None:
        permitted = _public_may(Access(action, resource))
        return PermissionResult.PERMITTED if permitted else PermissionResult.NEUTRAL
    if is_allowed(session, Access(action, resource, session.context)):
        return PermissionResult.NEUTRAL
    return PermissionResult.DENIED


def is_allowed(session: Session, access: Access) -> bool:
    """Return whether the session's identity, session and resource policies and its boundary allow `access`."""
    access = replace(access, context={**access.context, **principal_context(session)})
    try:
        within_boundary = session.boundary_allows(access) and session.policy_allows(access)
        verdicts = [identity_verdict(session.policies(), access), _resource_verdict(access, session.caller)]
    except UnsupportedConditionError as error:
        print(f"denied {access.action} on {access.resource}: {error}", flush=True)
        return False
    allowed = within_boundary and Verdict.DENIED not in verdicts and Verdict.ALLOWED in verdicts
    return allowed and not _is_foreign(access)


def _is_foreign(access: Access) -> bool:
    """Return whether a topic or queue is another account's, whose policy would have to allow access too."""
    account = access.resource.split(":")[4:5]
    return access.action.startswith(("sns:", "sqs:")) and account not in ([], [ACCOUNT_ID])


def service_may(principal: str, access: Access) -> bool:
    """Return whether a resource's policy lets an AWS service such as `sns.amazonaws.com` do this for the account."""
    context = {"aws:sourceaccount": ACCOUNT_ID, "aws:sourceowner": ACCOUNT_ID, "aws:securetransport": "true"}
    access = replace(access, context={**context, **access.context})
    try:
        return _resource_verdict(access, Caller((principal,), "", is_service=True)) is Verdict.ALLOWED
    except UnsupportedConditionError as error:
        print(f"denied {access.action} on {access.resource} to {principal}: {error}", flush=True)
        return False


def _authorize_anonymous(response: Any, resource: str) -> None:
    if response.service_name == "sns" and response._get_action() in ("ConfirmSubscription", "Unsubscribe"):
        return  # these carry their own token
    for access in required_access(response, response.service_name or "", resource):
        if not _public_may(access):
            if response.service_name == "s3":
                raise S3AccessDeniedError()
            raise AccessDeniedError("anonymous", access.action)


def _public_may(access: Access) -> bool:
    """Return whether a resource's policy allows this to everyone, and its bucket does not restrict that."""
    bucket = _bucket_of(access)
    restricted = bucket is not None and public_access.refuses_public(bucket)
    try:
        return not restricted and _resource_verdict(access, Caller((), "")) is Verdict.ALLOWED
    except UnsupportedConditionError as error:
        print(f"denied {access.action} on {access.resource} to the public: {error}", flush=True)
        return False


def _bucket_of(access: Access) -> FakeBucket | None:
    if not access.action.startswith("s3:"):
        return None
    return s3_backends[ACCOUNT_ID]["aws"].buckets.get(access.resource.partition(":::")[2].partition("/")[0])


def _hide_absence(response: Any, session: Session, access: Access) -> None:
    """Answer 403, as S3 does, for an absent key to a caller that may not list the bucket.

    A condition on `s3:prefix` is evaluated against the key; AWS does not document what it compares.
    """
    if access.action not in ("s3:GetObject", "s3:GetObjectAttributes"):
        return
    bucket, _, key = access.resource.partition(":::")[2].partition("/")
    try:
        found = s3_backends[ACCOUNT_ID]["aws"].get_object(bucket, key)
    except S3ClientError:
        found = None
    listing = Access("s3:ListBucket", f"arn:aws:s3:::{bucket}", {**access.context, "s3:prefix": key})
    if found is None and not is_allowed(session, listing):
        _deny(response, session, access)


def _resource_verdict(access: Access, caller: Caller) -> Verdict:
    """Evaluate the policy of the accessed role, bucket, topic or queue."""
    document: Any = None
    service = access.action.partition(":")[0]
    if access.action == "sts:AssumeRole":
        return assume_role_verdict(access, caller)
    if service == "s3":
        bucket = _bucket_of(access)
        document = bucket.policy if bucket else None
    elif service == "sns" and access.resource.count(":") >= 5:
        topic = sns_backends[ACCOUNT_ID][access.resource.split(":")[3]].topics.get(access.resource)
        document = topic.policy if topic else None
    elif service == "sqs" and access.resource.count(":") == 5:
        queue: Any = sqs_backends[ACCOUNT_ID][access.resource.split(":")[3]].queues.get(access.resource.split(":")[5])
        document = queue.policy if queue else None
    return resource_verdict(document, access, caller) if document else Verdict.SILENT


def _deny(response: Any, session: Session, access: Access) -> None:
    message = f"User: {session.caller.names[0]} is not authorized to perform: {access.action} on {access.resource}"
    print(message, flush=True)
    if session.service == "s3":
        raise BucketAccessDeniedError(access.resource.partition(":::")[2].partition("/")[0])
    if is_form(response):
        raise AccessDeniedError(session.caller.names[0], f"{access.action} on resource: {access.resource}")
    error = JsonRESTError("AccessDeniedException", message)
    error.code = 403
    raise error
