"""STS: GetCallerIdentity of the administrator, which is the account's root user."""

from typing import Any, cast

from moto.sts.models import STSBackend

from local_aws.emulator.account import ACCOUNT_ID


def install() -> None:
    """Replace moto's example user."""
    backend = cast(Any, STSBackend)
    identify = backend.get_caller_identity

    def get_caller_identity(self: Any, access_key_id: str, region: str) -> tuple[str, str, str]:
        found = identify(self, access_key_id, region)
        # Whoever is no role's session has been refused already.
        return found if ":assumed-role/" in found[1] else (ACCOUNT_ID, f"arn:aws:iam::{ACCOUNT_ID}:root", ACCOUNT_ID)

    backend.get_caller_identity = get_caller_identity
