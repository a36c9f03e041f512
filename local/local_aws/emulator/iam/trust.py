"""Who may assume a role: its trust policy, and for the account's own roles their policies too."""

from __future__ import annotations

from moto.iam.models import iam_backends

from local_aws.emulator.account import ACCOUNT_ID
from local_aws.emulator.iam.policies import Access, Caller, Verdict, resource_verdict


def trust_verdict(role_arn: str, access: Access, caller: Caller) -> Verdict:
    """What the role's trust policy says to `caller`; moto's own error if there is no such role."""
    role = iam_backends[ACCOUNT_ID]["aws"].get_role(role_arn.rpartition("/")[2])
    return resource_verdict(role.assume_role_policy_document, access, caller)


def trust_of_session(access: Access, caller: Caller) -> Verdict:
    """What a role's trust policy says to another role's session.

    ALLOWED if it names that role, SILENT if it names the account only (then the other role's policies decide), DENIED
    if it names neither.
    """
    verdict = trust_verdict(access.resource, access, caller)
    if verdict is not Verdict.SILENT:
        return verdict
    account = Caller((*caller.names, ACCOUNT_ID, f"arn:aws:iam::{ACCOUNT_ID}:root"), ACCOUNT_ID)
    delegated = trust_verdict(access.resource, access, account) is Verdict.ALLOWED
    return Verdict.SILENT if delegated else Verdict.DENIED
