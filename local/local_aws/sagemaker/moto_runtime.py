"""Replaces moto's canned SageMaker runtime: asynchronous invocations reach the endpoint's queue."""

import json
from collections.abc import Callable
from typing import NoReturn
from urllib.parse import unquote

from moto.core.exceptions import ServiceException
from moto.sagemakerruntime.responses import SageMakerRuntimeResponse

from local_aws.sagemaker.backlog import BacklogClosed, BacklogFull
from local_aws.sagemaker.deployment import Deployment
from local_aws.sagemaker.endpoint import Endpoint
from local_aws.sagemaker.invocation import InvalidInvocation, parse_invocation
from local_aws.sagemaker.registry import DataPlane, EndpointKey
from local_aws.sagemaker.request import AsyncRequest

Reply = tuple[int, dict[str, str | int], str]


class ValidationError(ServiceException):
    """The runtime API's name for every refused call."""

    code = "ValidationError"


class ServiceUnavailable(ServiceException):
    """The runtime API's answer when it cannot take more."""

    code = "ServiceUnavailable"


def install(data_plane: Callable[[], DataPlane]) -> None:
    """Replaces InvokeEndpointAsync and InvokeEndpoint. `data_plane` is asked for at the first use."""

    def invoke_endpoint_async(self: SageMakerRuntimeResponse) -> Reply:
        request = _accept(self, *_find(self, data_plane()))
        locations = {"X-Amzn-SageMaker-OutputLocation": request.output_location}
        if request.failure_location:
            locations["X-Amzn-SageMaker-FailureLocation"] = request.failure_location
        return 202, {"status": 202, **locations}, json.dumps({"InferenceId": request.inference_id})

    def invoke_endpoint(self: SageMakerRuntimeResponse) -> Reply:
        _find(self, data_plane())
        raise ValidationError(
            f"Endpoint {_name(self)} of account {self.current_account} is an asynchronous endpoint: "
            "use InvokeEndpointAsync."
        )

    SageMakerRuntimeResponse.invoke_endpoint_async = invoke_endpoint_async
    SageMakerRuntimeResponse.invoke_endpoint = invoke_endpoint


def _accept(call: SageMakerRuntimeResponse, endpoint: Endpoint, deployment: Deployment) -> AsyncRequest:
    try:
        request = parse_invocation(call.headers, _body(call), deployment.definition, now=endpoint.backlog.clock())
        endpoint.backlog.put(request)
    except InvalidInvocation as error:
        raise ValidationError(str(error)) from error
    except BacklogFull as error:
        raise ServiceUnavailable("the endpoint's queue is full") from error
    except BacklogClosed:
        _not_found(call)
    return request


def _find(call: SageMakerRuntimeResponse, data_plane: DataPlane) -> tuple[Endpoint, Deployment]:
    """An endpoint that takes requests: from its first InService until its deletion, whatever its instance count."""
    endpoint = data_plane.find(EndpointKey(call.current_account, call.region, _name(call)))
    if endpoint is None or endpoint.live is None or endpoint.record.endpoint_status == "Deleting":
        _not_found(call)
    return endpoint, endpoint.live


def _not_found(call: SageMakerRuntimeResponse) -> NoReturn:
    raise ValidationError(f"Endpoint {_name(call)} of account {call.current_account} not found.")


def _name(call: SageMakerRuntimeResponse) -> str:
    return unquote(call.path.split("/")[2])


def _body(call: SageMakerRuntimeResponse) -> bytes:
    body: bytes | str = call.body or b""
    return body.encode() if isinstance(body, str) else body
