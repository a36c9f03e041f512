"""The endpoint's state: asleep, waking, idle, busy, updating or failed; its queue, instances and price."""

from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from musicgen_client.aws import AnyClient, Clients, translate
from musicgen_client.errors import EndpointError
from musicgen_client.stack import Stack

HINTS = {  # what a state means for somebody who waits
    "asleep": "asleep: no instance runs; the first request wakes one after 1 to 2 minutes",
    "waking": "waking: an instance is starting, usually 5 to 10 minutes",
}
_METRICS = {"backlog": "ApproximateBacklogSize", "age": "ApproximateAgeOfOldestRequest"}


@dataclass(frozen=True)
class Status:
    """What the endpoint is doing. None means that CloudWatch has no recent value."""

    state: str  # asleep, waking, idle, busy, updating
    instances: int
    desired_instances: int
    backlog: int | None  # requests that wait or run
    oldest_seconds: float | None
    staged_model: str | None  # the digest of what was staged, from its folder's name; no commit of the Hub
    usd_per_hour: float | None  # of the instances that run now

    def as_dict(self) -> dict[str, Any]:
        """Return the fields, for JSON."""
        return asdict(self)


def variant(sagemaker: AnyClient, endpoint: str) -> dict[str, Any]:
    """Return the endpoint's description; EndpointError if it does not exist or has failed."""
    try:
        described = sagemaker.describe_endpoint(EndpointName=endpoint)
    except ClientError as error:
        if "Could not find" in str(error):
            raise EndpointError(f"there is no endpoint {endpoint}; the stack is being deployed or removed") from error
        raise translate(error, f"endpoint {endpoint}") from error
    except BotoCoreError as error:
        raise translate(error, f"endpoint {endpoint}") from error
    if described["EndpointStatus"] == "Failed":
        raise EndpointError(f"endpoint {endpoint} has failed: {described.get('FailureReason', 'no reason given')}")
    return described


def endpoint_status(stack: Stack, clients: Clients) -> Status:
    """Ask SageMaker and CloudWatch; PermissionMissing names what the caller may not do."""
    described = variant(clients.sagemaker, stack.endpoint)
    variants: list[dict[str, Any]] = described.get("ProductionVariants") or [{}]
    current, desired = (int(variants[0].get(f"{name}InstanceCount", 0)) for name in ("Current", "Desired"))
    values = _latest(clients.cloudwatch, stack.endpoint)
    backlog = values["backlog"]
    if current == 0:
        state = "waking" if desired or backlog else "asleep"
    elif described["EndpointStatus"] not in ("InService", "Updating"):
        state = described["EndpointStatus"].lower()
    else:
        state = "busy" if backlog else "idle"
    digest = (stack.model_data_url or "").split("/")
    return Status(
        state=state,
        instances=current,
        desired_instances=desired,
        backlog=None if backlog is None else round(backlog),
        oldest_seconds=values["age"],
        staged_model=next((part for part in reversed(digest) if len(part) >= 32), None),
        usd_per_hour=None if stack.usd_per_hour is None else stack.usd_per_hour * current,
    )


def wake(stack: Stack, clients: Clients) -> bool:
    """Ask for one instance if there is none; return whether one was asked for. Scaling ends it when it is idle."""
    described = variant(clients.sagemaker, stack.endpoint)
    variants = described["ProductionVariants"]
    if variants[0].get("CurrentInstanceCount") or variants[0].get("DesiredInstanceCount"):
        return False
    wanted = [{"VariantName": variants[0]["VariantName"], "DesiredInstanceCount": 1}]
    try:
        clients.sagemaker.update_endpoint_weights_and_capacities(
            EndpointName=stack.endpoint, DesiredWeightsAndCapacities=wanted
        )
    except (ClientError, BotoCoreError) as error:
        raise translate(error, f"endpoint {stack.endpoint}") from error
    return True


def _latest(cloudwatch: AnyClient, endpoint: str) -> dict[str, float | None]:
    """Return the newest value of each metric within five minutes."""
    end = datetime.now(UTC)
    queries = [
        {
            "Id": identifier,
            "MetricStat": {
                "Metric": {
                    "Namespace": "AWS/SageMaker",
                    "MetricName": name,
                    "Dimensions": [{"Name": "EndpointName", "Value": endpoint}],
                },
                "Period": 60,
                "Stat": "Maximum",
            },
        }
        for identifier, name in _METRICS.items()
    ]
    try:
        answer = cloudwatch.get_metric_data(
            MetricDataQueries=queries, StartTime=end - timedelta(minutes=5), EndTime=end, ScanBy="TimestampDescending"
        )
    except (ClientError, BotoCoreError) as error:
        raise translate(error, f"endpoint {endpoint}") from error
    found = {result["Id"]: result["Values"] for result in answer["MetricDataResults"]}
    return {identifier: float(found[identifier][0]) if found.get(identifier) else None for identifier in _METRICS}
