"""The SageMaker and SageMaker Runtime calls: patches that put real endpoints behind moto's records."""
# pyright: reportPrivateUsage=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportAttributeAccessIssue=false
# (moto's backends are extended by assignment; the version is pinned and checked at start)

import atexit
import functools
import json
import threading
from dataclasses import replace
from typing import Any, NoReturn, cast
from urllib.parse import unquote

from botocore import xform_name
from moto.core.exceptions import ServiceException
from moto.core.responses import ActionResult
from moto.sagemaker.exceptions import AWSValidationException
from moto.sagemaker.models import FakeEndpoint, FakeEndpointConfig, SageMakerModelBackend
from moto.sagemaker.responses import SageMakerResponse
from moto.sagemakerruntime.responses import SageMakerRuntimeResponse

from local_aws.emulator import account, clients
from local_aws.sagemaker import descriptions, scalable_targets
from local_aws.sagemaker.endpoint import Endpoint, EndpointKey, EndpointRecord, EndpointRegistry
from local_aws.sagemaker.endpoint_config import EndpointConfig, resolve_config
from local_aws.sagemaker.instances.container import Launch, ServingStack
from local_aws.sagemaker.production_variant import check_variant
from local_aws.sagemaker.request_limits import check_request
from local_aws.sagemaker.requests.invocation_request import InvalidInvocation, parse_invocation
from local_aws.sagemaker.requests.request_queue import QueueClosed, QueueFull
from local_aws.sagemaker.variant import Variant

_moto_create = SageMakerModelBackend.create_endpoint
_moto_create_config = SageMakerModelBackend.create_endpoint_config
_moto_create_model = SageMakerModelBackend.create_model
_moto_delete = SageMakerModelBackend.delete_endpoint
_moto_scale = SageMakerModelBackend.update_endpoint_weights_and_capacities
_CHECKED = (  # the operations whose requests are checked against the API's limits
    "CreateModel",
    "CreateEndpointConfig",
    "CreateEndpoint",
    "UpdateEndpoint",
    "UpdateEndpointWeightsAndCapacities",
)
_moto_answers: dict[str, Any] = {}  # moto's methods by name, so that a second `install` does not wrap the first's
_launch: list[Launch] = []  # set by `install`
_creation = threading.Lock()


class ValidationError(ServiceException):
    """The runtime API's error for every call that it refuses."""

    code = "ValidationError"


class ServiceUnavailable(ServiceException):
    """The runtime API's error when an endpoint's queue is full."""

    code = "ServiceUnavailable"


def install(*, launch: Launch = ServingStack) -> None:
    """Patch the SageMaker APIs of moto, in the process that serves it. Call once, after moto is imported.

    `clients.set_runtime` must be called before the first endpoint is created. `launch` starts a container from its
    environment and the path of its log. The containers stop when the process exits or is killed.
    """
    _launch[:] = [launch]
    _create_registry.cache_clear()
    FakeEndpointConfig.validate_production_variants = _validate_production_variants
    SageMakerModelBackend.create_model = _create_model
    SageMakerModelBackend.create_endpoint_config = _create_endpoint_config
    SageMakerModelBackend.create_endpoint = _create_endpoint
    SageMakerModelBackend.delete_endpoint = _delete_endpoint
    SageMakerModelBackend.update_endpoint = _update_endpoint
    SageMakerModelBackend.update_endpoint_weights_and_capacities = _update_endpoint_weights_and_capacities
    _moto_answers["update_endpoint"] = _update_endpoint_response
    descriptions.install(find_endpoint)
    SageMakerRuntimeResponse.invoke_endpoint_async = _invoke_endpoint_async
    SageMakerRuntimeResponse.invoke_endpoint = _invoke_endpoint
    for operation in _CHECKED:
        _check_limits_of(operation)


def find_endpoint(name: str, *, region: str = account.REGION) -> Endpoint | None:
    """Return the endpoint of that name, whatever its status; None if there is none or `install` was not called."""
    return _registry().find(EndpointKey(account.ACCOUNT_ID, region, name)) if _launch else None


def all_endpoints(*, region: str = account.REGION) -> dict[str, Endpoint]:
    """Return the region's endpoints by name, whatever their status; none if `install` was not called."""
    found = _registry().all() if _launch else {}
    return {key.name: endpoint for key, endpoint in found.items() if key.region == region}


def _registry() -> EndpointRegistry:
    """Return all endpoints of this process; created when it is first needed, when the server's address is known."""
    with _creation:  # or two threads may create one each, and the endpoints of one are lost
        return _create_registry()


@functools.cache
def _create_registry() -> EndpointRegistry:
    registry = EndpointRegistry(clients.runtime(), _launch[0])
    atexit.register(registry.shutdown)
    return registry


# The functions below replace methods of moto: `self` is moto's object, and the parameters have moto's names.


def _check_limits_of(operation: str) -> None:
    """Make moto refuse requests that exceed the API's limits."""
    name = xform_name(operation)
    if name not in _moto_answers:
        _moto_answers[name] = getattr(SageMakerResponse, name)
    answer = _moto_answers[name]

    @functools.wraps(answer)
    def checked(self: SageMakerResponse) -> ActionResult:
        parameters = json.loads(self.body)
        try:
            check_request(operation, parameters)
        except ValueError as error:
            raise AWSValidationException(str(error)) from error
        if "CrossRegionTrafficConfig" in parameters and "AsyncInferenceConfig" in parameters:
            raise AWSValidationException("CrossRegionTrafficConfig must not be specified with AsyncInferenceConfig")
        return answer(self)

    setattr(SageMakerResponse, name, checked)


def _create_model(self: SageMakerModelBackend, model_name: str, **settings: Any) -> Any:
    """CreateModel: refuse a name that exists, which moto would replace."""
    if model_name in self._models:
        raise AWSValidationException(f'Cannot create already existing model "{self._models[model_name].arn}".')
    return _moto_create_model(self, model_name, **settings)


def _create_endpoint_config(self: SageMakerModelBackend, endpoint_config_name: str, **settings: Any) -> Any:
    """CreateEndpointConfig: refuse a name that exists, which moto would replace; add AWS's defaults."""
    if existing := self.endpoint_configs.get(endpoint_config_name):
        arn = existing.endpoint_config_arn
        raise AWSValidationException(f'Cannot create already existing endpoint configuration "{arn}".')
    for variant in settings["production_variants"]:
        variant.setdefault("InitialVariantWeight", 1.0)
    return _moto_create_config(self, endpoint_config_name, **settings)


def _validate_production_variants(self: FakeEndpointConfig, production_variants: list[dict[str, Any]]) -> None:
    """Check what CreateEndpointConfig checks; moto knows neither pools nor ranges, and no type since g4dn."""
    for variant in production_variants:
        try:
            check_variant(variant)
        except ValueError as error:
            raise AWSValidationException(str(error)) from error
        variant.setdefault("InitialVariantWeight", 1.0)  # documented default, which Describe calls show


def _create_endpoint(
    self: SageMakerModelBackend, endpoint_name: str, endpoint_config_name: str, tags: list[dict[str, str]]
) -> FakeEndpoint:
    """CreateEndpoint: status Creating, then InService or Failed."""
    taken = {name.lower(): endpoint.arn for name, endpoint in self.endpoints.items()}
    if arn := taken.get(endpoint_name.lower()):  # the name is case-insensitive here, and only here
        raise AWSValidationException(f'Cannot create already existing endpoint "{arn}".')
    config = _resolve(self, endpoint_name, endpoint_config_name)
    record = _moto_create(self, endpoint_name, endpoint_config_name, tags)
    _registry().create(_key(self, endpoint_name), cast(EndpointRecord, record), config)
    return record


def _delete_endpoint(self: SageMakerModelBackend, endpoint_name: str) -> None:
    """DeleteEndpoint: status Deleting while anything of the endpoint runs, then it is gone.

    Refused while the endpoint changes, as in public reports. Its scalable targets are deregistered.
    """
    key = _key(self, endpoint_name)
    endpoint = _registry().find(key)
    if endpoint is None:
        _moto_delete(self, endpoint_name)  # refuses an unknown name with AWS's message
        return

    if endpoint.record.endpoint_status not in ("InService", "Failed"):
        raise _in_progress(self, endpoint_name)
    scalable_targets.deregister_all(key.account, key.region, key.name)

    def remove() -> None:
        _registry().remove(key)
        _moto_delete(self, endpoint_name)

    endpoint.delete(remove)


def _update_endpoint(
    self: SageMakerModelBackend, endpoint_name: str, endpoint_config_name: str, retain_instance_count: bool
) -> FakeEndpoint:
    """UpdateEndpoint: status Updating while the new configuration starts and the old one still serves.

    `retain_instance_count` keeps the current instance count instead of the configuration's.
    """
    endpoint = _find_in_service(self, endpoint_name)
    config = _resolve(self, endpoint_name, endpoint_config_name)
    if (current := endpoint.variant) and _must_deregister(self, endpoint_name, current.config, config):
        raise AWSValidationException(
            f'The variant(s) "[{current.config.variant_name}]" must be deregistered as a scalable target with AWS Auto '
            "Scaling before they can be removed or updated to modify instance type."
        )
    if retain_instance_count and endpoint.variant:
        config = replace(config, initial_instance_count=endpoint.variant.desired)
    endpoint.update(config)
    return self.endpoints[endpoint_name]


def _update_endpoint_weights_and_capacities(
    self: SageMakerModelBackend, endpoint_name: str, desired_weights_and_capacities: list[dict[str, Any]]
) -> str:
    """UpdateEndpointWeightsAndCapacities: status Updating until the instance count is reached."""
    endpoint = _find_in_service(self, endpoint_name)
    variant = endpoint.record.production_variants[0]
    current = {name: variant.get(name) for name in ("DesiredWeight", "DesiredInstanceCount")}
    wanted = [current | change for change in desired_weights_and_capacities]
    arn = _moto_scale(self, endpoint_name, wanted)
    for change in wanted:
        endpoint.scale(int(change["DesiredInstanceCount"] or 0))
    return arn


def _update_endpoint_response(self: SageMakerResponse) -> ActionResult:
    excluded = self._get_param("ExcludeRetainedVariantProperties") or []
    kinds = {item["VariantPropertyType"] for item in excluded}
    retain = bool(self._get_param("RetainAllVariantProperties")) and "DesiredInstanceCount" not in kinds
    endpoint = self.sagemaker_backend.update_endpoint(
        endpoint_name=self._get_param("EndpointName"),
        endpoint_config_name=self._get_param("EndpointConfigName"),
        retain_instance_count=retain,
    )
    return ActionResult({"EndpointArn": endpoint.arn})


def _invoke_endpoint_async(self: SageMakerRuntimeResponse) -> tuple[int, dict[str, str | int], str]:
    """InvokeEndpointAsync: put the request into the endpoint's queue."""
    endpoint, variant = _find_invocable(self)
    body: bytes | str = self.body or b""
    body = body.encode() if isinstance(body, str) else body
    try:
        request = parse_invocation(self.headers, body, variant.config, now=endpoint.queue.clock())
        endpoint.queue.put(request)
    except InvalidInvocation as error:
        raise ValidationError(str(error)) from error
    except QueueFull as error:
        raise ServiceUnavailable("the endpoint's queue is full") from error
    except QueueClosed:
        _not_found(self)
    headers: dict[str, str | int] = {"status": 202, "Content-Type": "application/json"}
    headers["X-Amzn-SageMaker-OutputLocation"] = request.output_location
    if request.failure_location:
        headers["X-Amzn-SageMaker-FailureLocation"] = request.failure_location
    return 202, headers, json.dumps({"InferenceId": request.inference_id})


def _invoke_endpoint(self: SageMakerRuntimeResponse) -> NoReturn:
    """InvokeEndpoint: refused, as for every asynchronous endpoint."""
    _find_invocable(self)
    raise ValidationError(
        f"Endpoint {_name(self)} of account {self.current_account} is an asynchronous endpoint: "
        "use InvokeEndpointAsync."
    )


def _find_in_service(backend: SageMakerModelBackend, name: str) -> Endpoint:
    """Return an endpoint that may be changed now: AWS allows one change at a time."""
    backend.describe_endpoint(name)  # refuses an unknown name with AWS's message
    endpoint = _registry().find(_key(backend, name))
    if endpoint is None or endpoint.record.endpoint_status != "InService":
        raise _in_progress(backend, name)
    return endpoint


def _in_progress(backend: SageMakerModelBackend, name: str) -> AWSValidationException:
    return AWSValidationException(f'Cannot update in-progress endpoint "{backend.endpoints[name].arn}".')


def _must_deregister(
    backend: SageMakerModelBackend, endpoint: str, current: EndpointConfig, new: EndpointConfig
) -> bool:
    """Return whether an update changes what autoscaling relies on while the variant is a scalable target.

    https://docs.aws.amazon.com/sagemaker/latest/dg/endpoint-scaling-update.html
    """
    changes = (current.variant_name, current.instance_types) != (new.variant_name, new.instance_types)
    return changes and scalable_targets.is_registered(
        backend.account_id, backend.region_name, endpoint, current.variant_name
    )


def _find_invocable(call: SageMakerRuntimeResponse) -> tuple[Endpoint, Variant]:
    """Return an endpoint that accepts requests: from its first InService to its deletion, at any instance count."""
    endpoint = _registry().find(EndpointKey(call.current_account, call.region, _name(call)))
    if endpoint is None or endpoint.variant is None or endpoint.record.endpoint_status == "Deleting":
        _not_found(call)
    return endpoint, endpoint.variant


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
