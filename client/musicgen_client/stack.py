"""Find a stack's endpoint, buckets and topics from its outputs."""

import os
from dataclasses import dataclass

from botocore.exceptions import BotoCoreError, ClientError

from musicgen_client.aws import AnyClient, translate
from musicgen_client.errors import StackError

DEFAULT_STACK = "MusicGen-dev"
_BROKEN = ("ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "CREATE_FAILED", "DELETE_FAILED")


@dataclass(frozen=True)
class Stack:
    """A deployed stack: what a client needs of its outputs."""

    name: str
    endpoint: str
    input_bucket: str
    output_bucket: str
    success_topic: str | None = None
    error_topic: str | None = None
    usd_per_hour: float | None = None  # of one instance
    model_data_url: str | None = None


def stack_name(given: str | None) -> str:
    """Return the given name, else MUSICGEN_STACK, else that of a development deployment."""
    return given or os.environ.get("MUSICGEN_STACK") or DEFAULT_STACK


def find_stack(cloudformation: AnyClient, name: str) -> Stack:
    """Read the stack's outputs. StackError if it does not exist, is not deployed, or is another project's."""
    try:
        (described,) = cloudformation.describe_stacks(StackName=name)["Stacks"]
    except ClientError as error:
        if "does not exist" in str(error):
            remedy = "use --stack or MUSICGEN_STACK, and check the account and the region"
            raise StackError(f"there is no stack {name}; {remedy}") from error
        raise translate(error, f"stack {name}") from error
    except BotoCoreError as error:
        raise translate(error, f"stack {name}") from error
    outputs = {item["OutputKey"]: item["OutputValue"] for item in described.get("Outputs", [])}
    status = described["StackStatus"]
    wanted = ("EndpointName", "InputBucketName", "OutputBucketName")
    if missing := [output for output in wanted if output not in outputs]:
        if status in _BROKEN or (
            status.startswith(("CREATE_", "DELETE_", "ROLLBACK_")) and status != "CREATE_COMPLETE"
        ):
            reason = described.get("StackStatusReason", "no reason given")
            raise StackError(f"stack {name} is not deployed: it is {status} ({reason})")
        raise StackError(f"stack {name} has no output {', '.join(missing)}; is it a MusicGen stack?")
    price = outputs.get("InstancePricePerHourUsd")
    return Stack(
        name=name,
        endpoint=outputs["EndpointName"],
        input_bucket=outputs["InputBucketName"],
        output_bucket=outputs["OutputBucketName"],
        success_topic=outputs.get("SuccessTopicArn"),
        error_topic=outputs.get("ErrorTopicArn"),
        usd_per_hour=float(price) if price else None,
        model_data_url=outputs.get("ModelDataUrl"),
    )
