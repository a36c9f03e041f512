"""Operations that moto lacks, or answers otherwise than AWS does, one module per service.

`install` replaces methods of moto's classes; `moto_patches` calls it. The field names, and what is left out when it is
empty, are those of the SDK's service models.
"""

from local_aws.emulator.operations import caller_identity, logs, scaling, stacks, subscriptions


def install() -> None:
    """Replace the methods; call once, in the server's process."""
    for module in (caller_identity, logs, scaling, stacks, subscriptions):
        module.install()
