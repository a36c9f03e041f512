"""An endpoint from CreateEndpoint to DeleteEndpoint: states, what is refused meanwhile, updates and capacity."""

import contextlib
from collections.abc import Generator
from typing import Any

import pytest

from conformance.behaviour import documented
from conformance.workspace import Workspace, error_code
from tests.conformance.endpoints import AsyncEndpoint

API = "https://docs.aws.amazon.com/sagemaker/latest/APIReference/"
DG = "https://docs.aws.amazon.com/sagemaker/latest/dg/"
CREATE = API + "API_CreateEndpoint.html"
UPDATE = API + "API_UpdateEndpoint.html"
DESCRIBE = API + "API_DescribeEndpoint.html"
LIST = API + "API_ListEndpoints.html"
CAPACITY = API + "API_UpdateEndpointWeightsAndCapacities.html"
DELETE_CONFIG = API + "API_DeleteEndpointConfig.html"
CHANGING = "AWS's reference only says so of SystemUpdating; in public reports it holds for every change"


@pytest.fixture(scope="module")
def own(workspace: Workspace) -> AsyncEndpoint:
    """What an endpoint of this file needs."""
    return AsyncEndpoint(workspace)


@pytest.fixture
def changing(own: AsyncEndpoint) -> AsyncEndpoint:
    """An endpoint that the file's tests change one after the other; each leaves it in service, or deleted."""
    if not own.sagemaker.list_endpoints(NameContains=own.name)["Endpoints"]:
        own.create()
    return own


@contextlib.contextmanager
def scalable(endpoint: AsyncEndpoint) -> Generator[None]:
    """Register the endpoint's variant as a scalable target."""
    autoscaling = endpoint.workspace.client("application-autoscaling")
    target = {
        "ServiceNamespace": "sagemaker",
        "ScalableDimension": "sagemaker:variant:DesiredInstanceCount",
        "ResourceId": f"endpoint/{endpoint.name}/variant/AllTraffic",
    }
    autoscaling.register_scalable_target(**target, MinCapacity=1, MaxCapacity=1)
    try:
        yield
    finally:
        with contextlib.suppress(autoscaling.exceptions.ObjectNotFoundException):
            autoscaling.deregister_scalable_target(**target)


def update(endpoint: AsyncEndpoint, config: str, **arguments: Any) -> None:
    endpoint.sagemaker.update_endpoint(EndpointName=endpoint.name, EndpointConfigName=config, **arguments)


def scale(endpoint: AsyncEndpoint, count: int, variant: str = "AllTraffic") -> None:
    endpoint.sagemaker.update_endpoint_weights_and_capacities(
        EndpointName=endpoint.name,
        DesiredWeightsAndCapacities=[{"VariantName": variant, "DesiredInstanceCount": count}],
    )


@documented(DESCRIBE)
def test_an_endpoint_is_described(endpoint: AsyncEndpoint) -> None:
    """DescribeEndpoint returns name, ARN, configuration, status and times of an endpoint."""
    described = endpoint.describe()
    assert described["EndpointName"] == endpoint.name
    assert described["EndpointArn"].endswith(f":endpoint/{endpoint.name}")
    assert described["EndpointStatus"] == "InService"
    assert described["EndpointConfigName"].startswith(endpoint.workspace.prefix)
    assert described["CreationTime"] <= described["LastModifiedTime"]
    assert "FailureReason" not in described


@documented(API + "API_ProductionVariantSummary.html")
def test_a_variant_is_described_with_its_instances(endpoint: AsyncEndpoint) -> None:
    """CurrentInstanceCount is the number of instances of the variant, DesiredInstanceCount what was requested."""
    (variant,) = endpoint.describe()["ProductionVariants"]
    assert (variant["CurrentInstanceCount"], variant["DesiredInstanceCount"]) == (1, 1)
    assert variant["VariantName"] == "AllTraffic"


@documented(LIST)
def test_endpoints_are_listed_by_a_part_of_their_name(endpoint: AsyncEndpoint) -> None:
    """NameContains returns only endpoints whose name contains the specified string."""
    (listed,) = endpoint.sagemaker.list_endpoints(NameContains=endpoint.name)["Endpoints"]
    assert listed.keys() == {"EndpointName", "EndpointArn", "CreationTime", "LastModifiedTime", "EndpointStatus"}
    assert (listed["EndpointName"], listed["EndpointStatus"]) == (endpoint.name, "InService")


@documented(LIST)
def test_endpoints_are_listed_by_status(endpoint: AsyncEndpoint) -> None:
    """StatusEquals returns only endpoints with the specified status."""
    listed = endpoint.sagemaker.list_endpoints
    assert listed(NameContains=endpoint.name, StatusEquals="InService")["Endpoints"]
    assert not listed(NameContains=endpoint.name, StatusEquals="Failed")["Endpoints"]


@documented(CREATE)
def test_an_endpoint_name_is_taken_whatever_its_case(endpoint: AsyncEndpoint) -> None:
    """The name must be unique within a Region in your account; it is case-insensitive in CreateEndpoint."""
    config = endpoint.describe()["EndpointConfigName"]
    for name in (endpoint.name, endpoint.name.upper()):
        arguments = {"EndpointName": name, "EndpointConfigName": config}
        code, _ = error_code(lambda arguments=arguments: endpoint.sagemaker.create_endpoint(**arguments))
        assert code == "ValidationException"


@documented(DESCRIBE, unknown="the reference lists no error for it; ValidationException is that of public reports")
def test_an_unknown_endpoint_is_a_validation_exception(endpoint: AsyncEndpoint) -> None:
    """DescribeEndpoint returns the description of an endpoint."""
    name = endpoint.workspace.name()
    assert error_code(lambda: endpoint.sagemaker.describe_endpoint(EndpointName=name))[0] == "ValidationException"


@documented(LIST)
def test_ten_endpoints_are_listed_at_most(endpoint: AsyncEndpoint) -> None:
    """MaxResults: the maximum number of endpoints to return in the response, 1 to 100. This value defaults to 10."""
    listed = endpoint.sagemaker.list_endpoints
    assert len(listed()["Endpoints"]) <= 10
    assert len(listed(MaxResults=1)["Endpoints"]) == 1


@documented(CAPACITY)
def test_an_unknown_variant_is_refused(endpoint: AsyncEndpoint) -> None:
    """VariantName is the name of the variant to update."""
    assert error_code(lambda: scale(endpoint, 1, "Other"))[0] == "ValidationException"


@documented(DG + "endpoint-scaling-update.html")
def test_the_instance_type_of_a_scalable_target_stays(endpoint: AsyncEndpoint) -> None:
    """If the update would change the instance type for a model that is a target for auto scaling, the call fails."""
    config = endpoint.configure(variant={"InstanceType": "ml.m5.xlarge"})
    with scalable(endpoint):
        code, _ = error_code(lambda: update(endpoint, config))
    assert code == "ValidationException"
    assert endpoint.describe()["EndpointStatus"] == "InService"


@documented(DG + "endpoint-scaling-update.html")
def test_a_variant_that_is_a_scalable_target_stays(endpoint: AsyncEndpoint) -> None:
    """Deregistering is required before removing a production variant that has automatic scaling configured."""
    config = endpoint.configure(variant={"VariantName": "Other"})
    with scalable(endpoint):
        assert error_code(lambda: update(endpoint, config))[0] == "ValidationException"


@documented(UPDATE)
def test_an_update_deploys_the_new_configuration(changing: AsyncEndpoint) -> None:
    """UpdateEndpoint sets the status to Updating, deploys the configuration, and sets the status to InService."""
    config = changing.configure()
    update(changing, config)
    assert changing.describe()["EndpointStatus"] == "Updating"
    assert changing.await_status("InService")["EndpointConfigName"] == config


@documented(DG + "endpoint-scaling-update.html")
def test_the_model_of_a_scalable_target_may_change(changing: AsyncEndpoint) -> None:
    """If you change the model for a variant that is configured for auto scaling, the update is allowed."""
    config = changing.configure(variant={"ModelName": changing.create_model({"OBEDIENT_MARK": "second"})})
    with scalable(changing):
        update(changing, config)
        assert changing.await_status("InService")["EndpointConfigName"] == config


@documented(DESCRIBE, unknown=CHANGING)
def test_nothing_else_changes_an_endpoint_that_is_updating(changing: AsyncEndpoint) -> None:
    """An endpoint cannot be updated or deleted or re-scaled until the change in progress has completed."""
    config = changing.configure()
    update(changing, config)
    calls = (
        lambda: update(changing, config),
        lambda: scale(changing, 2),
        lambda: changing.sagemaker.delete_endpoint(EndpointName=changing.name),
    )
    assert [error_code(call)[0] for call in calls] == ["ValidationException"] * 3
    changing.await_status("InService")


@documented(DG + "async-inference-update-endpoint.html")
def test_requests_are_answered_while_an_endpoint_is_updated(changing: AsyncEndpoint) -> None:
    """SageMaker first provisions and switches to the new configuration before it deletes the previous resources."""
    before = [changing.invoke({"sleep": 0.1}) for _ in range(25)]
    update(changing, changing.configure())
    during = [changing.invoke({}) for _ in range(25)]
    changing.await_status("InService")
    for answer in before + during:
        assert changing.await_object(answer["OutputLocation"])
        assert changing.object(answer["FailureLocation"]) is None


@documented(DELETE_CONFIG)
def test_an_endpoint_outlives_its_configuration(changing: AsyncEndpoint) -> None:
    """DeleteEndpointConfig does not delete endpoints created using the configuration."""
    changing.sagemaker.delete_endpoint_config(EndpointConfigName=changing.describe()["EndpointConfigName"])
    assert changing.describe()["EndpointStatus"] == "InService"
    assert changing.await_object(changing.invoke({})["OutputLocation"])


@documented(DG + "async-inference-autoscale.html")
def test_requests_wait_at_zero_instances(changing: AsyncEndpoint) -> None:
    """Requests that are received when there are zero instances are queued until the endpoint scales up."""
    scale(changing, 0)
    (variant,) = changing.await_status("InService")["ProductionVariants"]
    assert (variant["CurrentInstanceCount"], variant["DesiredInstanceCount"]) == (0, 0)
    answer = changing.invoke({})
    assert changing.object(answer["OutputLocation"]) is None
    scale(changing, 1)
    changing.await_status("InService", seconds=120)
    assert changing.await_object(answer["OutputLocation"])


@documented(API + "API_DeleteEndpoint.html")
def test_a_deleted_endpoint_takes_no_requests(changing: AsyncEndpoint) -> None:
    """DeleteEndpoint deletes an endpoint and frees up all of the resources that were deployed with it."""
    changing.delete()
    assert error_code(changing.describe)[0] == "ValidationException"
    assert error_code(lambda: changing.invoke({}))[0] == "ValidationError"
