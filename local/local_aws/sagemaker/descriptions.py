"""What the Describe and List calls show: moto's records without its empty settings, and what moto leaves out.

The SDKs' own classes reject an empty `DataCaptureConfig`, whose members are required.
"""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportAttributeAccessIssue=false, reportPrivateUsage=false
# (moto's classes are extended by assignment; the version is pinned and checked at start)

from collections.abc import Callable
from typing import Any

from moto.core.responses import ActionResult
from moto.sagemaker.exceptions import AWSValidationException
from moto.sagemaker.responses import SageMakerResponse

from local_aws.sagemaker.endpoint import Endpoint

_PAGE = 10  # the default of SageMaker's MaxResults, whose limit is 100
_MAX_PAGE = 100


def install(find_endpoint: Callable[..., Endpoint | None]) -> None:
    """Replace moto's descriptions and listings; `find_endpoint(name, region=...)` returns what runs."""

    def describe_endpoint(self: SageMakerResponse) -> ActionResult:
        name = self._get_param("EndpointName")
        described = _without_empty(self.sagemaker_backend.describe_endpoint(name), "DataCaptureConfig")
        endpoint = find_endpoint(name, region=self.region)
        return ActionResult(described | _deployment(endpoint, described) if endpoint else described)

    SageMakerResponse.describe_endpoint = describe_endpoint
    SageMakerResponse.describe_endpoint_config = _describe_endpoint_config
    SageMakerResponse.describe_model = _describe_model
    SageMakerResponse.list_endpoints = _list_endpoints
    SageMakerResponse.list_endpoint_configs = _list_endpoint_configs
    SageMakerResponse.list_models = _list_models


def _describe_endpoint_config(self: SageMakerResponse) -> ActionResult:
    described = self.sagemaker_backend.describe_endpoint_config(self._get_param("EndpointConfigName"))
    return ActionResult(_without_empty(described, "DataCaptureConfig"))


def _describe_model(self: SageMakerResponse) -> ActionResult:
    described = self.sagemaker_backend.describe_model(self._get_param("ModelName")).response_object
    return ActionResult(_without_empty(described, "Containers", "VpcConfig"))


def _without_empty(described: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in described.items() if value or name not in names}


def _deployment(endpoint: Endpoint, described: dict[str, Any]) -> dict[str, Any]:
    """Return the fields that come from the configuration that serves, and from the one being deployed."""
    config, pending = endpoint.deployed, endpoint.pending
    image = {"SpecifiedImage": config.image, "ResolutionTime": described["CreationTime"]}
    variants = [variant | {"DeployedImages": [image]} for variant in described["ProductionVariants"]]
    added: dict[str, Any] = {"AsyncInferenceConfig": config.async_inference, "ProductionVariants": variants}
    if pending:
        added["PendingDeploymentSummary"] = {
            "EndpointConfigName": pending.config.endpoint_config_name,
            "ProductionVariants": [
                {
                    "VariantName": pending.config.variant_name,
                    "DeployedImages": [{"SpecifiedImage": pending.config.image}],
                    "DesiredInstanceCount": pending.config.initial_instance_count,
                }
            ],
            "StartTime": pending.started_at,
        }
    return added


def _list_endpoints(self: SageMakerResponse) -> ActionResult:
    return _listing(
        self, "Endpoints", "Endpoint", self.sagemaker_backend.endpoints.values(), lambda item: item.summary()
    )


def _list_endpoint_configs(self: SageMakerResponse) -> ActionResult:
    found = self.sagemaker_backend.endpoint_configs.values()
    return _listing(self, "EndpointConfigs", "EndpointConfig", found, lambda item: item.summary())


def _list_models(self: SageMakerResponse) -> ActionResult:
    fields = ("ModelName", "ModelArn", "CreationTime")
    found = self.sagemaker_backend.list_models()
    return _listing(self, "Models", "Model", found, lambda item: {name: item.response_object[name] for name in fields})


def _listing(call: Any, member: str, kind: str, found: Any, summary: Callable[[Any], dict[str, Any]]) -> ActionResult:
    """Return one page, filtered and sorted as the API documents: the newest first, ten at a time."""
    items = [item for item in map(summary, list(found)) if _is_wanted(call, item, f"{kind}Name")]
    by = {"Name": f"{kind}Name", "Status": "EndpointStatus"}.get(call._get_param("SortBy"), "CreationTime")
    items.sort(key=lambda item: item[by], reverse=call._get_param("SortOrder") != "Ascending")
    count = int(call._get_param("MaxResults") or _PAGE)
    if not 1 <= count <= _MAX_PAGE:
        raise AWSValidationException(f"MaxResults must be 1 to {_MAX_PAGE}, got {count}")
    token = call._get_param("NextToken") or "0"
    if not token.isdecimal():
        raise AWSValidationException(f"NextToken must be that of the previous page, got {token!r}")
    first = int(token)
    answer: dict[str, Any] = {member: items[first : first + count]}
    if first + count < len(items):
        answer["NextToken"] = str(first + count)
    return ActionResult(answer)


def _is_wanted(call: Any, item: dict[str, Any], name: str) -> bool:
    text, status = call._get_param("NameContains"), call._get_param("StatusEquals")
    if (text and text.lower() not in item[name].lower()) or (status and item["EndpointStatus"] != status):
        return False
    for field in ("CreationTime", "LastModifiedTime"):
        before, after = call._get_param(f"{field}Before"), call._get_param(f"{field}After")
        if (before and item[field] >= _naive(before)) or (after and item[field] <= _naive(after)):
            return False
    return True


def _naive(time: Any) -> Any:
    return time.replace(tzinfo=None)  # moto keeps UTC without a zone
