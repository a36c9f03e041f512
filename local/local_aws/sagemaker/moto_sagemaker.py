"""Puts real endpoints behind moto's SageMaker API: its records and calls stay, their canned life goes."""
# pyright: reportPrivateUsage=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportAttributeAccessIssue=false
# (moto's backends are extended by assignment; the version is pinned and checked at start)

from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

from moto.core.responses import ActionResult
from moto.sagemaker.exceptions import AWSValidationException
from moto.sagemaker.models import FakeEndpoint, SageMakerModelBackend
from moto.sagemaker.responses import SageMakerResponse

from local_aws.sagemaker.definition import VariantDefinition, resolve
from local_aws.sagemaker.endpoint import Endpoint, EndpointRecord
from local_aws.sagemaker.registry import DataPlane, EndpointKey

Changes = list[dict[str, Any]]

_create = SageMakerModelBackend.create_endpoint
_delete = SageMakerModelBackend.delete_endpoint
_scale = SageMakerModelBackend.update_endpoint_weights_and_capacities


def install(data_plane: Callable[[], DataPlane]) -> None:
    """Replaces the endpoint calls. `data_plane` is asked for at the first use, when the server's address is known."""
    calls = EndpointCalls(data_plane)
    SageMakerModelBackend.create_endpoint = _as_method(calls.create)
    SageMakerModelBackend.delete_endpoint = _as_method(calls.delete)
    SageMakerModelBackend.update_endpoint = _as_method(calls.update)
    SageMakerModelBackend.update_endpoint_weights_and_capacities = _as_method(calls.scale)
    SageMakerResponse.update_endpoint = _update_endpoint_response


class EndpointCalls:
    """moto's endpoint calls, by its own parameter names; `backend` is moto's, for one account and region."""

    def __init__(self, data_plane: Callable[[], DataPlane]) -> None:
        self._data_plane = data_plane

    def create(
        self, backend: SageMakerModelBackend, endpoint_name: str, endpoint_config_name: str, tags: list[dict[str, str]]
    ) -> FakeEndpoint:
        """CreateEndpoint: status Creating, then InService or Failed."""
        if endpoint_name in backend.endpoints:
            arn = backend.endpoints[endpoint_name].arn
            raise AWSValidationException(f'Cannot create already existing endpoint "{arn}".')
        definition = _definition(backend, endpoint_name, endpoint_config_name)
        endpoint = _create(backend, endpoint_name, endpoint_config_name, tags)
        self._data_plane().create(_key(backend, endpoint_name), cast(EndpointRecord, endpoint), definition)
        return endpoint

    def delete(self, backend: SageMakerModelBackend, endpoint_name: str) -> None:
        """DeleteEndpoint: status Deleting until nothing of the endpoint runs, then it is gone."""
        key = _key(backend, endpoint_name)
        endpoint = self._data_plane().find(key)
        if endpoint is None:
            _delete(backend, endpoint_name)  # refuses an unknown name with AWS's message
            return

        def forget() -> None:
            self._data_plane().forget(key)
            _delete(backend, endpoint_name)

        endpoint.delete(forget)

    def update(
        self, backend: SageMakerModelBackend, endpoint_name: str, endpoint_config_name: str, retain: bool
    ) -> FakeEndpoint:
        """UpdateEndpoint: status Updating while the new configuration comes up beside the old.

        `retain` (RetainAllVariantProperties) keeps the present instance count instead of the configuration's.
        """
        endpoint = self._settled(backend, endpoint_name)
        definition = _definition(backend, endpoint_name, endpoint_config_name)
        if retain and endpoint.live:
            definition = replace(definition, initial_instance_count=endpoint.live.fleet.desired)
        endpoint.update(definition)
        return backend.endpoints[endpoint_name]

    def scale(self, backend: SageMakerModelBackend, endpoint_name: str, desired_weights_and_capacities: Changes) -> str:
        """UpdateEndpointWeightsAndCapacities: status Updating until the instance count is reached."""
        endpoint = self._settled(backend, endpoint_name)
        variant = endpoint.record.production_variants[0]
        present = {name: variant.get(name) for name in ("DesiredWeight", "DesiredInstanceCount")}
        wanted = [present | change for change in desired_weights_and_capacities]
        arn = _scale(backend, endpoint_name, wanted)
        for change in wanted:
            endpoint.scale(int(change["DesiredInstanceCount"] or 0))
        return arn

    def _settled(self, backend: SageMakerModelBackend, name: str) -> Endpoint:
        """An endpoint that may be changed now: as on AWS, one change at a time."""
        backend.describe_endpoint(name)  # refuses an unknown name with AWS's message
        endpoint = self._data_plane().find(_key(backend, name))
        if endpoint is None or endpoint.record.endpoint_status != "InService":
            raise AWSValidationException(f'Cannot update in-progress endpoint "{backend.endpoints[name].arn}".')
        return endpoint


def _update_endpoint_response(self: SageMakerResponse) -> ActionResult:
    endpoint = self.sagemaker_backend.update_endpoint(
        endpoint_name=self._get_param("EndpointName"),
        endpoint_config_name=self._get_param("EndpointConfigName"),
        retain=bool(self._get_param("RetainAllVariantProperties")),
    )
    return ActionResult({"EndpointArn": endpoint.arn})


def _as_method(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` as a class attribute that receives the object it is called on as its first argument."""

    def method(self: Any, *arguments: Any, **named: Any) -> Any:
        return function(self, *arguments, **named)

    return method


def _key(backend: SageMakerModelBackend, name: str) -> EndpointKey:
    return EndpointKey(backend.account_id, backend.region_name, name)


def _definition(backend: SageMakerModelBackend, endpoint_name: str, config_name: str) -> VariantDefinition:
    """The configuration and its model as they are now, resolved; what cannot run is refused here, as an API error."""
    config = backend.describe_endpoint_config(config_name)
    try:
        model = backend.describe_model(config["ProductionVariants"][0]["ModelName"]).response_object
        return resolve(endpoint_name, config, model, account=backend.account_id, region=backend.region_name)
    except ValueError as error:
        raise AWSValidationException(str(error)) from error
