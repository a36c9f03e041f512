"""The parts of AssumeRole that moto lacks: who may call it, and which sessions STS refuses."""

# pyright: reportPrivateUsage=false
# (moto keeps the reading of parameters private)

import json
from typing import Any

from moto.core.exceptions import _RESTError
from moto.iam.exceptions import NotFoundException

from local_aws.emulator.account import ACCOUNT_ID
from local_aws.emulator.iam.policies import Access, Caller, Verdict
from local_aws.emulator.iam.sessions import max_session_seconds, trust_verdict

_ROOT = f"arn:aws:iam::{ACCOUNT_ID}:root"
_MIN_SECONDS, _MAX_SECONDS = 900, 43_200
_MAX_CHAINED_SECONDS = 3600
_MAX_POLICY = 2048
# What would change the session's permissions, and is not evaluated here.
_UNSUPPORTED = ("PolicyArns", "Tags", "TransitiveTagKeys", "SourceIdentity", "SerialNumber", "TokenCode")


def assume_role_verdict(access: Access, caller: Caller) -> Verdict:
    """Evaluate a role's trust policy for another role's session.

    ALLOWED if it names that role, SILENT if it names only the account (then the other role's policies decide), DENIED
    if it names neither, or if the role does not exist.
    """
    try:
        verdict = trust_verdict(access.resource, access, caller)
        if verdict is not Verdict.SILENT:
            return verdict
        account = Caller((*caller.names, ACCOUNT_ID, _ROOT), ACCOUNT_ID)
        delegated = trust_verdict(access.resource, access, account) is Verdict.ALLOWED
    except NotFoundException:
        return Verdict.DENIED
    return Verdict.SILENT if delegated else Verdict.DENIED


def administrator_may_assume(access: Access) -> bool:
    """Return whether the role trusts the account: an administrator's policies allow the rest."""
    try:
        return trust_verdict(access.resource, access, Caller((ACCOUNT_ID, _ROOT), ACCOUNT_ID)) is Verdict.ALLOWED
    except NotFoundException:
        return False


def check_session(response: Any, *, chained: bool) -> None:
    """Raise STS's error for a session that it would not create; `chained` if a role's session asks for it.

    NotImplementedError names a parameter that the embedded AWS would ignore.
    """
    for name in _UNSUPPORTED:
        if response._get_param(name):
            raise NotImplementedError(f"the embedded AWS does not support AssumeRole with {name}")
    seconds = int(response._get_param("DurationSeconds") or 3600)
    if not _MIN_SECONDS <= seconds <= _MAX_SECONDS:
        bound = (
            f"less than or equal to {_MAX_SECONDS}"
            if seconds > _MAX_SECONDS
            else f"greater than or equal to {_MIN_SECONDS}"
        )
        raise _refusal(
            "ValidationError",
            f"1 validation error detected: Value '{seconds}' at 'durationSeconds' failed to satisfy constraint: "
            f"Member must have value {bound}",
        )
    if chained and seconds > _MAX_CHAINED_SECONDS:
        raise _refusal(
            "ValidationError",
            "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining",
        )
    if seconds > max_session_seconds(str(response._get_param("RoleArn"))):
        raise _refusal(
            "ValidationError", "The requested DurationSeconds exceeds the MaxSessionDuration set for this role."
        )
    _check_policy(response._get_param("Policy"))


def _check_policy(policy: str | None) -> None:
    if policy is None:
        return
    if len(policy) > _MAX_POLICY:
        raise _refusal(
            "ValidationError",
            "1 validation error detected: Value at 'policy' failed to satisfy constraint: Member must have length less "
            f"than or equal to {_MAX_POLICY}",
        )
    try:
        valid = isinstance(json.loads(policy).get("Statement"), list | dict)
    except (ValueError, AttributeError):
        valid = False
    if not valid:
        raise _refusal("MalformedPolicyDocument", "The policy is not in the valid JSON format.")


def _refusal(code: str, message: str) -> Exception:
    error: Any = _RESTError(code, message)
    error.code = 400
    return error
