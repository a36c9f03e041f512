"""Operations that moto lacks, or answers otherwise than AWS does, and what it does not refuse, by service.

`install` replaces methods of moto's classes; `moto_patches` calls it. The field names, and what is left out when it is
empty, are those of the SDK's service models.
"""

from local_aws.emulator.operations import (
    caller_identity,
    cloudwatch,
    logs,
    queues,
    s3,
    scaling,
    scaling_targets,
    stacks,
    subscriptions,
)


def install() -> None:
    """Replace the methods; call once, in the server's process."""
    for module in (s3, cloudwatch, scaling_targets, caller_identity, logs, scaling, stacks, subscriptions, queues):
        module.install()
