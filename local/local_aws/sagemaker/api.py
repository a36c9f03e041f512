"""The SageMaker and SageMaker Runtime calls: patches that put real endpoints behind moto's records."""
# pyright: reportPrivateUsage=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportAttributeAccessIssue=false
# (moto's backends are extended by assignment; the version is pinned and checked at start)

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NoReturn, cast
from urllib.parse import unquote

from moto.core.exceptions import ServiceException
from moto.core.responses import ActionResult
from moto.sagemaker.exceptions import AWSValidationException
from moto.sagemaker.models import FakeEndpoint, SageMakerModelBackend
from moto.sagemaker.responses import SageMakerResponse
from moto.sagemakerruntime.responses import SageMakerRuntimeResponse

from local_aws.sagemaker.endpoint import Endpoint, EndpointKey, EndpointRecord, EndpointRegistry
from local_aws.sagemaker.endpoint_config import EndpointConfig, resolve_config
from local_aws.sagemaker.invocation import InvalidInvocation, parse_invocation
from local_aws.sagemaker.request_queue import QueueClosed, QueueFull
from local_aws.sagemaker.variant import Variant

_create = SageMakerModelBackend.create_endpoint
_delete = SageMakerModelBackend.delete_endpoint
_scale = SageMakerModelBackend.update_endpoint_weights_and_capacities


class ValidationError(ServiceException):
    """The runtime API's error for every call that it refuses."""

    code = "ValidationError"


class ServiceUnavailable(ServiceException):
    """The runtime API's error when an endpoint's queue is full."""

    code = "ServiceUnavailable"


def install(registry: Callable[[], EndpointRegistry]) -> None:
    """Patch the calls. `registry` is first called when an endpoint is used: the server's address is known then."""
    calls, runtime = _EndpointCalls(registry), _RuntimeCalls(registry)
    SageMakerModelBackend.create_endpoint = _as_method(calls.create)
    SageMakerModelBackend.delete_endpoint = _as_method(calls.delete)
    SageMakerModelBackend.update_endpoint = _as_method(calls.update)
    SageMakerModelBackend.update_endpoint_weights_and_capacities = _as_method(calls.scale)
    SageMakerResponse.update_endpoint = _update_endpoint_response
    SageMakerRuntimeResponse.invoke_endpoint_async = _as_method(runtime.invoke_async)
    SageMakerRuntimeResponse.invoke_endpoint = _as_method(runtime.invoke)


class _EndpointCalls:
    """The calls that change endpoints, with moto's parameter names; `backend` is moto's, for one account and region."""

    def __init__(self, registry: Callable[[], EndpointRegistry]) -> None:
        self._registry = registry

    def create(
        self, backend: SageMakerModelBackend, endpoint_name: str, endpoint_config_name: str, tags: list[dict[str, str]]
    ) -> FakeEndpoint:
        """CreateEndpoint: status Creating, then InService or Failed."""
        if endpoint_name in backend.endpoints:
            arn = backend.endpoints[endpoint_name].arn
            raise AWSValidationException(f'Cannot create already existing endpoint "{arn}".')
        config = _resolve(backend, endpoint_name, endpoint_config_name)
        endpoint = _create(backend, endpoint_name, endpoint_config_name, tags)
        self._registry().create(_key(backend, endpoint_name), cast(EndpointRecord, endpoint), config)
        return endpoint

    def delete(self, backend: SageMakerModelBackend, endpoint_name: str) -> None:
        """DeleteEndpoint: status Deleting while anything of the endpoint runs, then it is gone."""
        key = _key(backend, endpoint_name)
        endpoint = self._registry().find(key)
        if endpoint is None:
            _delete(backend, endpoint_name)  # refuses an unknown name with AWS's message
            return

        def remove() -> None:
            self._registry().remove(key)
            _delete(backend, endpoint_name)

        endpoint.delete(remove)

    def update(
        self, backend: SageMakerModelBackend, endpoint_name: str, endpoint_config_name: str, retain: bool
    ) -> FakeEndpoint:
        """UpdateEndpoint: status Updating while the new configuration starts and the old one still serves.

        `retain` (RetainAllVariantProperties) keeps the current instance count instead of the configuration's.
        """
        endpoint = self._in_service(backend, endpoint_name)
        config = _resolve(backend, endpoint_name, endpoint_config_name)
        if retain and endpoint.variant:
            config = replace(config, initial_instance_count=endpoint.variant.desired)
        endpoint.update(config)
        return backend.endpoints[endpoint_name]

    def scale(
        self,
        backend: SageMakerModelBackend,
        endpoint_name: str,
        desired_weights_and_capacities: list[dict[str, Any]],
    ) -> str:
        """UpdateEndpointWeightsAndCapacities: status Updating until the instance count is reached."""
        endpoint = self._in_service(backend, endpoint_name)
        variant = endpoint.record.production_variants[0]
        current = {name: variant.get(name) for name in ("DesiredWeight", "DesiredInstanceCount")}
        wanted = [current | change for change in desired_weights_and_capacities]
        arn = _scale(backend, endpoint_name, wanted)
        for change in wanted:
            endpoint.scale(int(change["DesiredInstanceCount"] or 0))
        return arn

    def _in_service(self, backend: SageMakerModelBackend, name: str) -> Endpoint:
        """Return an endpoint that may be changed now: AWS allows one change at a time."""
        backend.describe_endpoint(name)  # refuses an unknown name with AWS's message
        endpoint = self._registry().find(_key(backend, name))
        if endpoint is None or endpoint.record.endpoint_status != "InService":
            raise AWSValidationException(f'Cannot update in-progress endpoint "{backend.endpoints[name].arn}".')
        return endpoint


class _RuntimeCalls:
    """InvokeEndpointAsync and InvokeEndpoint; `call` is moto's response object, which holds the request."""

    def __init__(self, registry: Callable[[], EndpointRegistry]) -> None:
        self._registry = registry

    def invoke_async(self, call: SageMakerRuntimeResponse) -> tuple[int, dict[str, str | int], str]:
        endpoint, variant = self._find(call)
        body: bytes | str = call.body or b""
        body = body.encode() if isinstance(body, str) else body
        try:
            request = parse_invocation(call.headers, body, variant.config, now=endpoint.queue.clock())
            endpoint.queue.put(request)
        except InvalidInvocation as error:
            raise ValidationError(str(error)) from error
        except QueueFull as error:
            raise ServiceUnavailable("the endpoint's queue is full") from error
        except QueueClosed:
            _not_found(call)
        locations = {"X-Amzn-SageMaker-OutputLocation": request.output_location}
        if request.failure_location:
            locations["X-Amzn-SageMaker-FailureLocation"] = request.failure_location
        return 202, {"status": 202, **locations}, json.dumps({"InferenceId": request.inference_id})

    def invoke(self, call: SageMakerRuntimeResponse) -> NoReturn:
        self._find(call)
        raise ValidationError(
            f"Endpoint {_name(call)} of account {call.current_account} is an asynchronous endpoint: "
            "use InvokeEndpointAsync."
        )

    def _find(self, call: SageMakerRuntimeResponse) -> tuple[Endpoint, Variant]:
        """Return an endpoint that accepts requests: from its first InService to its deletion, at any instance count."""
        endpoint = self._registry().find(EndpointKey(call.current_account, call.region, _name(call)))
        if endpoint is None or endpoint.variant is None or endpoint.record.endpoint_status == "Deleting":
            _not_found(call)
        return endpoint, endpoint.variant


def _update_endpoint_response(self: SageMakerResponse) -> ActionResult:
    endpoint = self.sagemaker_backend.update_endpoint(
        endpoint_name=self._get_param("EndpointName"),
        endpoint_config_name=self._get_param("EndpointConfigName"),
        retain=bool(self._get_param("RetainAllVariantProperties")),
    )
    return ActionResult({"EndpointArn": endpoint.arn})


def _as_method(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return `function` as a class attribute that receives the object it is called on as its first argument."""

    def method(self: Any, *arguments: Any, **named: Any) -> Any:
        return function(self, *arguments, **named)

    return method


def _key(backend: SageMakerModelBackend, name: str) -> EndpointKey:
    return EndpointKey(backend.account_id, backend.region_name, name)


def _resolve(backend: SageMakerModelBackend, endpoint_name: str, config_name: str) -> EndpointConfig:
    """Resolve the configuration and its model as they are now; one that cannot run here is an API error."""
    config = backend.describe_endpoint_config(config_name)
    try:
        model = backend.describe_model(config["ProductionVariants"][0]["ModelName"]).response_object
        return resolve_config(endpoint_name, config, model, account=backend.account_id, region=backend.region_name)
    except ValueError as error:
        raise AWSValidationException(str(error)) from error


def _name(call: SageMakerRuntimeResponse) -> str:
    return unquote(call.path.split("/")[2])


def _not_found(call: SageMakerRuntimeResponse) -> NoReturn:
    raise ValidationError(f"Endpoint {_name(call)} of account {call.current_account} not found.")
