"""Permissions boundaries: the most that a role's own policies can give it (IAM user guide, same heading)."""

from __future__ import annotations

from moto.iam.models import iam_backends

from local_aws.emulator.account import ACCOUNT_ID
from local_aws.emulator.iam.policies import Access, Verdict, identity_verdict


def within_boundary(role_name: str, access: Access) -> bool:
    """Whether the role's permissions boundary allows `access`: always without one, never if the policy is not there.

    What a resource's own policy gives to the role is bounded here too; on AWS that holds where the policy names the
    role, and not where it names the session.
    """
    backend = iam_backends[ACCOUNT_ID]["aws"]
    arn = backend.get_role(role_name).permissions_boundary_arn
    if not arn:
        return True
    policy = backend.managed_policies.get(arn)
    documents = [version.document for version in policy.versions if version.is_default] if policy else []
    return identity_verdict(documents, access) is Verdict.ALLOWED
