"""AWS::SageMaker::Endpoint."""

from __future__ import annotations

import time
from typing import Any

from botocore.exceptions import ClientError

from local_aws.emulator.resources.base import (
    Context,
    Handler,
    Outcome,
    Properties,
    ResourceFailedError,
    is_gone,
    require_known,
)
from local_aws.emulator.resources.conform import call
from local_aws.emulator.resources.sagemaker_model import name_of, retag

_UPDATE = frozenset(
    {
        "DeploymentConfig",
        "EndpointConfigName",
        "ExcludeRetainedVariantProperties",
        "RetainAllVariantProperties",
        "RetainDeploymentConfig",
    }
)
_KNOWN = _UPDATE | {"EndpointName", "Tags"}
_POLL_SECONDS = 0.3
# Longer than any download plus health check that an endpoint configuration may ask for (3600 s each).
_LIMIT_SECONDS = 7500.0


class Endpoint(Handler):
    """An endpoint; `Ref` is its ARN. Creation and update wait until it is in service or has failed."""

    types = ("AWS::SageMaker::Endpoint",)
    immutable = frozenset({"EndpointName"})

    def create(self, context: Context, properties: Properties) -> Outcome:
        require_known(properties, _KNOWN)
        name = properties.get("EndpointName") or context.new_name(63)
        settings = {key: properties[key] for key in ("DeploymentConfig", "Tags") if key in properties}
        settings["EndpointConfigName"] = name_of(properties["EndpointConfigName"])
        arn = call(context, "sagemaker", "CreateEndpoint", {"EndpointName": name, **settings})["EndpointArn"]
        return _wait(context, arn)

    def update(self, context: Context, physical_id: str, old: Properties, new: Properties) -> Outcome:
        require_known(new, _KNOWN)
        if any(old.get(key) != new.get(key) for key in _UPDATE):
            settings = {key: new[key] for key in _UPDATE if key in new}
            settings["EndpointConfigName"] = name_of(new["EndpointConfigName"])
            call(context, "sagemaker", "UpdateEndpoint", {"EndpointName": name_of(physical_id), **settings})
        retag(context, physical_id, old, new)
        return _wait(context, physical_id)

    def delete(self, context: Context, physical_id: str, properties: Properties) -> None:
        context.client("sagemaker").delete_endpoint(EndpointName=name_of(physical_id))
        while _describe(context, physical_id) is not None:
            time.sleep(_POLL_SECONDS)


def _wait(context: Context, arn: str) -> Outcome:
    deadline = time.monotonic() + _LIMIT_SECONDS
    while True:
        endpoint = _describe(context, arn) or {"EndpointStatus": "Failed", "FailureReason": "it was deleted"}
        rolled_back = endpoint["EndpointStatus"] == "InService" and "FailureReason" in endpoint  # by SageMaker itself
        if endpoint["EndpointStatus"] == "InService" and not rolled_back:
            return Outcome(arn, {"EndpointName": name_of(arn)})
        if rolled_back or "Failed" in endpoint["EndpointStatus"] or time.monotonic() > deadline:
            reason = endpoint.get("FailureReason", f"it is still {endpoint['EndpointStatus']}")
            raise ResourceFailedError(f"The endpoint did not come into service: {reason}", arn)
        time.sleep(_POLL_SECONDS)


def _describe(context: Context, arn: str) -> dict[str, Any] | None:
    try:
        return context.client("sagemaker").describe_endpoint(EndpointName=name_of(arn))
    except ClientError as error:
        if is_gone(error):
            return None
        raise
