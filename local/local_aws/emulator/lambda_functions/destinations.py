"""Records of asynchronous invocations, sent to the destinations of the function's event invoke configuration."""

import datetime as dt
import json
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from local_aws.emulator import clients

SUPPORTED = ("sqs", "sns")


@dataclass(frozen=True)
class Attempted:
    """What became of an event: how often it ran, its last answer (None if it never ran), and why the record is sent.

    Of the conditions, AWS documents `RetriesExhausted` in an example; the others are those of public records.
    """

    request_id: str
    event: str
    credentials: dict[str, str]
    attempts: int = 0
    payload: bytes | None = None
    error: str | None = None
    condition: str = ""


def check_destinations(config: dict[str, Any]) -> None:
    """Raise NotImplementedError for a destination that would not receive anything here."""
    for place in config.get("DestinationConfig", {}).values():
        arn = place.get("Destination", "")
        if arn and arn.split(":")[2] not in SUPPORTED:
            raise NotImplementedError(f"the embedded AWS supports destinations in {', '.join(SUPPORTED)}, got {arn}")


def send_record(function: Any, config: dict[str, Any], attempted: Attempted) -> None:
    """Send the record of an event to the destination for its outcome, with the function's own permissions."""
    kind = "OnSuccess" if attempted.condition == "Success" else "OnFailure"
    arn = config.get("DestinationConfig", {}).get(kind, {}).get("Destination", "")
    if not arn:
        return
    record = json.dumps(_record(function, attempted))
    _, _, service, region, account, name = arn.split(":", 5)
    client = clients.client_with(service, attempted.credentials, region)
    try:
        if service == "sqs":
            url = clients.client("sqs", region).get_queue_url(QueueName=name, QueueOwnerAWSAccountId=account)[
                "QueueUrl"
            ]
            client.send_message(QueueUrl=url, MessageBody=record)
        else:
            client.publish(TopicArn=arn, Message=record)
    except ClientError as error:  # AWS counts it in DestinationDeliveryFailures
        print(f"no record of {function.function_name} was sent to {arn}: {error}", flush=True)


def _record(function: Any, attempted: Attempted) -> dict[str, Any]:
    """Return the record (Lambda developer guide, "Retaining records of asynchronous invocations")."""
    record = {
        "version": "1.0",
        "timestamp": dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z"),
        "requestContext": {
            "requestId": attempted.request_id,
            "functionArn": f"{function.function_arn}:$LATEST",
            "condition": attempted.condition,
            "approximateInvokeCount": attempted.attempts,
        },
        "requestPayload": json.loads(attempted.event),
    }
    if attempted.payload is not None:
        error = {"functionError": attempted.error} if attempted.error else {}
        record["responseContext"] = {"statusCode": 200, "executedVersion": "$LATEST", **error}
        record["responsePayload"] = json.loads(attempted.payload)
    return record
