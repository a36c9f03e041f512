"""AWS::SageMaker::Model, EndpointConfig and Endpoint; `Ref` of each is its ARN."""

import time
from typing import Any, ClassVar

from botocore.exceptions import ClientError

from local_aws.emulator.resources.base import (
    Context,
    Handler,
    Outcome,
    Properties,
    ResourceFailedError,
    is_not_found,
    pick,
)

_UPDATABLE = (
    "DeploymentConfig",
    "EndpointConfigName",
    "ExcludeRetainedVariantProperties",
    "RetainAllVariantProperties",
    "RetainDeploymentConfig",
)
_IN_PROGRESS = ("Creating", "Updating", "RollingBack", "SystemUpdating")
_POLL_SECONDS = 0.3  # or a twentieth of the time waited, which may be an hour
# Longer than the download plus health check that an endpoint configuration may allow (3600 s each).
_TIMEOUT_SECONDS = 7500.0


def _name_of(arn: str) -> str:
    return arn.rpartition("/")[2]


class _Immutable(Handler):
    """SageMaker can create and delete these, but not change them."""

    kind: ClassVar[str]
    taggable = True

    def replacement_properties(self, old: Properties, new: Properties) -> list[str]:
        return sorted(name for name in {*old, *new} if old.get(name) != new.get(name) and name != "Tags")

    def create(self, context: Context, properties: Properties) -> Outcome:
        name = properties.get(f"{self.kind}Name") or context.new_name(63)
        answer = context.call("sagemaker", f"Create{self.kind}", {**properties, f"{self.kind}Name": name})
        return self._outcome(answer[f"{self.kind}Arn"])

    def update(self, context: Context, physical_id: str, old: Properties, new: Properties) -> Outcome:
        context.replace_tags("sagemaker", {"ResourceArn": physical_id}, old, new, ("DeleteTags", "AddTags"))
        return self._outcome(physical_id)

    def delete(self, context: Context, physical_id: str, properties: Properties) -> None:
        context.call("sagemaker", f"Delete{self.kind}", {f"{self.kind}Name": _name_of(physical_id)})

    def _outcome(self, arn: str) -> Outcome:
        return Outcome(arn, {f"{self.kind}Name": _name_of(arn)})


class Model(_Immutable):
    """Image, model data, environment and execution role."""

    types = ("AWS::SageMaker::Model",)
    kind = "Model"


class EndpointConfig(_Immutable):
    """Production variants and asynchronous inference settings."""

    types = ("AWS::SageMaker::EndpointConfig",)
    kind = "EndpointConfig"


class Endpoint(Handler):
    """Creation and update wait until the endpoint is in service or has failed."""

    types = ("AWS::SageMaker::Endpoint",)
    taggable = True
    properties = frozenset({*_UPDATABLE, "EndpointName", "Tags"})
    immutable = frozenset({"EndpointName"})

    def create(self, context: Context, properties: Properties) -> Outcome:
        settings = pick(properties, "DeploymentConfig", "Tags")
        settings["EndpointName"] = properties.get("EndpointName") or context.new_name(63)
        settings["EndpointConfigName"] = _name_of(properties["EndpointConfigName"])
        return _wait_in_service(context, context.call("sagemaker", "CreateEndpoint", settings)["EndpointArn"])

    def update(self, context: Context, physical_id: str, old: Properties, new: Properties) -> Outcome:
        if any(old.get(key) != new.get(key) for key in _UPDATABLE):
            settings = pick(new, *_UPDATABLE)
            settings["EndpointConfigName"] = _name_of(new["EndpointConfigName"])
            if not _refused_before(context, physical_id, settings["EndpointConfigName"]):
                context.call("sagemaker", "UpdateEndpoint", {"EndpointName": _name_of(physical_id), **settings})
        context.replace_tags("sagemaker", {"ResourceArn": physical_id}, old, new, ("DeleteTags", "AddTags"))
        return _wait_in_service(context, physical_id)

    def delete(self, context: Context, physical_id: str, properties: Properties) -> None:
        while (endpoint := _describe(context, physical_id)) and endpoint["EndpointStatus"] in _IN_PROGRESS:
            time.sleep(_POLL_SECONDS)  # SageMaker refuses to delete an endpoint that is changing
        context.client("sagemaker").delete_endpoint(EndpointName=_name_of(physical_id))
        while _describe(context, physical_id) is not None:
            time.sleep(_POLL_SECONDS)


def _refused_before(context: Context, arn: str, config: str) -> bool:
    """Return whether this update only undoes one that SageMaker had refused, because the endpoint was changing.

    The endpoint then still has the configuration that it is to get back, and the same refusal must not end the
    rollback.
    """
    endpoint = _describe(context, arn) or {}
    return endpoint.get("EndpointConfigName") == config and endpoint.get("EndpointStatus") in _IN_PROGRESS


def _wait_in_service(context: Context, arn: str) -> Outcome:
    started = time.monotonic()
    while True:
        endpoint = _describe(context, arn) or {"EndpointStatus": "Failed", "FailureReason": "it was deleted"}
        status, waited = endpoint["EndpointStatus"], time.monotonic() - started
        rolled_back = status == "InService" and "FailureReason" in endpoint  # by SageMaker itself
        if status == "InService" and not rolled_back:
            return Outcome(arn, {"EndpointName": _name_of(arn)})
        if rolled_back or "Failed" in status or waited > _TIMEOUT_SECONDS:
            reason = endpoint.get("FailureReason", f"it is still {status}")
            raise ResourceFailedError(f"The endpoint did not come into service: {reason}", arn)
        time.sleep(max(_POLL_SECONDS, waited / 20))


def _describe(context: Context, arn: str) -> dict[str, Any] | None:
    try:
        return context.client("sagemaker").describe_endpoint(EndpointName=_name_of(arn))
    except ClientError as error:
        if is_not_found(error):
            return None
        raise
