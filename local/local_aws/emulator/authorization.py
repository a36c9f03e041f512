"""The seam for IAM: every request to the embedded AWS passes here before moto acts on it.

The administrator's key passes. A role's session is authorised against the policies deployed on the role and on the
resource. Nobody else gets in, but for an S3 object whose bucket's policy is public.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Any

from moto.core.authorization import ActionAuthenticatorMixin
from moto.core.exceptions import AccessDeniedError, JsonRESTError
from moto.iam.access_control import PermissionResult
from moto.s3.exceptions import BucketAccessDeniedError, S3AccessDeniedError, S3ClientError
from moto.s3.models import FakeBucket, s3_backends
from moto.sns.models import sns_backends

from local_aws.emulator.account import ACCOUNT_ID, ROOT_ACCESS_KEY_ID
from local_aws.emulator.iam.boundary import within_boundary
from local_aws.emulator.iam.conditions import UnsupportedConditionError
from local_aws.emulator.iam.policies import Access, Caller, Verdict, identity_verdict, resource_verdict
from local_aws.emulator.iam.requests import needed_access
from local_aws.emulator.iam.sessions import Session, authenticate, is_anonymous
from local_aws.emulator.iam.trust import trust_of_session


class _Request(threading.local):
    """Who makes the request that this thread is answering; None before that is known."""

    session: Session | None = None


_current = _Request()


def install() -> None:
    """Put this module's decision in the place of moto's."""
    mixin: Any = ActionAuthenticatorMixin
    mixin._authenticate_and_authorize_action = _authorize
    bucket: Any = FakeBucket
    bucket.get_permission = _bucket_permission


def middleware(app: Callable[..., Iterable[bytes]]) -> Callable[..., Iterable[bytes]]:
    """Forget the last request's caller: threads serve one request after the other."""

    def handle(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        _current.session = None
        return app(environ, start_response)

    return handle


def is_allowed(session: Session, access: Access) -> bool:
    """Whether identity and resource policies together allow `access` to the session's role, within its boundary."""
    try:
        bounded = not within_boundary(session.role_name, access)
        verdicts = [identity_verdict(session.policies(), access), _resource_policy(access, session.caller)]
    except UnsupportedConditionError as error:
        print(f"refused {access.action} on {access.resource}: {error}", flush=True)
        return False
    return not bounded and Verdict.DENIED not in verdicts and Verdict.ALLOWED in verdicts


def _authorize(response: Any, request_class: type, resource: str = "*") -> None:
    """Return if the request may go on; raise the service's own kind of error if not. moto calls this."""
    if f"Credential={ROOT_ACCESS_KEY_ID}/" in _credential(response):
        return
    if is_anonymous(response):
        _authorize_anonymous(response, resource)
        return
    session = authenticate(response, request_class)
    _current.session = session
    for access in needed_access(response, session.service, resource):
        # moto asks again for each key of a bulk deletion; the bucket itself is not what is deleted.
        bulk = access.action == "s3:DeleteObject" and "/" not in access.resource
        if not bulk and not (access.action == "sts:GetCallerIdentity" or is_allowed(session, access)):
            _deny(response, session, access)
        _hide_absence(response, session, access)


def _credential(response: Any) -> str:
    presigned = response.querystring.get("X-Amz-Credential", [""])[0]
    return response.headers.get("Authorization") or (f"Credential={presigned}" if presigned else "")


def _authorize_anonymous(response: Any, resource: str) -> None:
    if response.service_name == "sns" and response._get_action() in ("ConfirmSubscription", "Unsubscribe"):
        return  # these carry their own token
    nobody = Caller((), "")
    for access in needed_access(response, response.service_name or "", resource):
        if _resource_policy(access, nobody) is not Verdict.ALLOWED:
            raise (
                S3AccessDeniedError()
                if response.service_name == "s3"
                else AccessDeniedError("anonymous", access.action)
            )


def _hide_absence(response: Any, session: Session, access: Access) -> None:
    """S3 says 403, not 404, of an absent key to whoever may not list the bucket.

    A condition on `s3:prefix` is held against the key; AWS does not say what it is held against.
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


def _resource_policy(access: Access, caller: Caller) -> Verdict:
    document: Any = None
    service = access.action.partition(":")[0]
    if access.action == "sts:AssumeRole":
        return trust_of_session(access, caller)
    if service == "s3":
        bucket = s3_backends[ACCOUNT_ID]["aws"].buckets.get(access.resource.partition(":::")[2].partition("/")[0])
        document = bucket.policy if bucket else None
    elif service == "sns" and access.resource.count(":") >= 5:
        topic = sns_backends[ACCOUNT_ID][access.resource.split(":")[3]].topics.get(access.resource)
        document = topic.policy if topic else None
    return resource_verdict(document, access, caller) if document else Verdict.SILENT


def _bucket_permission(bucket: FakeBucket, action: str, resource: str) -> PermissionResult:
    """moto asks this for each key of a bulk deletion, and too early in other requests, when nobody is known yet."""
    session = _current.session
    if session is None or is_allowed(session, Access(action, resource, session.context)):
        return PermissionResult.NEUTRAL
    return PermissionResult.DENIED


def _deny(response: Any, session: Session, access: Access) -> None:
    message = f"User: {session.caller.names[0]} is not authorized to perform: {access.action} on {access.resource}"
    print(message, flush=True)
    if session.service == "s3":
        raise BucketAccessDeniedError(access.resource.partition(":::")[2].partition("/")[0])
    if "x-www-form-urlencoded" in response.headers.get("Content-Type", ""):
        raise AccessDeniedError(session.caller.names[0], f"{access.action} on resource: {access.resource}")
    error = JsonRESTError("AccessDeniedException", message)
    error.code = 403
    raise error
