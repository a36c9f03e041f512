"""A running endpoint: updates, scaling and the loss of containers, through boto3, with fake containers."""

import json
from typing import Any

import pytest
from botocore.exceptions import ClientError

from conformance.behaviour import documented
from local_aws.sagemaker.requests import invocation_request

API = "https://docs.aws.amazon.com/sagemaker/latest/APIReference/"
GUIDE = "https://docs.aws.amazon.com/sagemaker/latest/dg/"
UPDATE = API + "API_UpdateEndpoint.html"
CONTAINER = GUIDE + "your-algorithms-inference-code.html"


@documented(GUIDE + "async-inference-update-endpoint.html")
def test_update_starts_the_new_container_before_the_old_one_stops(endpoint: Any, world: Any) -> None:
    """SageMaker first provisions and switches to the new configuration before it deletes the previous resources."""
    endpoint.create_model("v2", {"VERSION": "2"})
    config = endpoint.configure("config2", model="v2")
    world.ping_status = 503
    endpoint.sagemaker.update_endpoint(EndpointName=endpoint.name, EndpointConfigName=config)
    endpoint.eventually(lambda: len(world.containers) == 2)
    assert endpoint.describe()["EndpointStatus"] == "Updating"
    old, new = world.containers
    answer = endpoint.invoke({"text": "during"})
    assert endpoint.await_object(answer["OutputLocation"])
    assert old.alive()
    new.ping_status = 200
    assert endpoint.await_status("InService")["EndpointConfigName"] == config
    endpoint.eventually(lambda: world.running == [new])
    answer = endpoint.invoke({"text": "after"})
    assert endpoint.await_object(answer["OutputLocation"])


@documented(UPDATE)
def test_update_lets_the_old_container_finish_its_requests(endpoint: Any, world: Any) -> None:
    """SageMaker shifts traffic to the new instances and deletes the old ones: there is no availability loss."""
    answer = endpoint.invoke({"sleep": 2, "text": "old"})
    endpoint.eventually(lambda: world.received)
    endpoint.sagemaker.update_endpoint(EndpointName=endpoint.name, EndpointConfigName=endpoint.configure("config2"))
    endpoint.await_status("InService")
    assert json.loads(endpoint.await_object(answer["OutputLocation"])) == {"text": "old"}
    assert len(world.received) == 1
    endpoint.eventually(lambda: len(world.running) == 1)


@documented(UPDATE)
def test_update_that_retains_variant_properties_keeps_the_instance_count(endpoint: Any, world: Any) -> None:
    """RetainAllVariantProperties: true retains variant properties, such as the instance count."""
    scale(endpoint, 2)
    endpoint.await_status("InService")
    endpoint.sagemaker.update_endpoint(
        EndpointName=endpoint.name, EndpointConfigName=endpoint.configure("config2"), RetainAllVariantProperties=True
    )
    (variant,) = endpoint.await_status("InService")["ProductionVariants"]
    assert variant["DesiredInstanceCount"] == 2
    endpoint.eventually(lambda: world.running == world.containers[2:] and len(world.running) == 2)


@documented(UPDATE)
def test_update_that_excludes_the_count_from_retention_starts_the_configured_instances(
    endpoint: Any, world: Any
) -> None:
    """ExcludeRetainedVariantProperties: properties to override with the values provided by EndpointConfig."""
    scale(endpoint, 2)
    endpoint.await_status("InService")
    endpoint.sagemaker.update_endpoint(
        EndpointName=endpoint.name,
        EndpointConfigName=endpoint.configure("config2"),
        RetainAllVariantProperties=True,
        ExcludeRetainedVariantProperties=[{"VariantPropertyType": "DesiredInstanceCount"}],
    )
    (variant,) = endpoint.await_status("InService")["ProductionVariants"]
    assert variant["DesiredInstanceCount"] == 1
    endpoint.eventually(lambda: world.running == world.containers[2:] and len(world.running) == 1)


@documented(
    UPDATE,
    unknown="AWS documents no update at zero instances; here the new fleet starts as configured and serves the queue",
)
def test_update_at_zero_instances_starts_the_new_ones(endpoint: Any, world: Any) -> None:
    """UpdateEndpoint deploys the configuration to a new fleet of instances."""
    scale(endpoint, 0)
    endpoint.await_status("InService")
    answer = endpoint.invoke({"text": "waited"})
    endpoint.sagemaker.update_endpoint(EndpointName=endpoint.name, EndpointConfigName=endpoint.configure("config2"))
    assert json.loads(endpoint.await_object(answer["OutputLocation"])) == {"text": "waited"}
    assert len(world.running) == 1


@documented(CONTAINER)
def test_failed_update_keeps_the_old_container_and_configuration(endpoint: Any, world: Any) -> None:
    """If the container does not pass health checks, the update requested by UpdateEndpoint is not completed."""
    before = endpoint.describe()["EndpointConfigName"]
    world.ping_status = 500
    config = endpoint.configure("config2", ContainerStartupHealthCheckTimeoutInSeconds=60)
    endpoint.sagemaker.update_endpoint(EndpointName=endpoint.name, EndpointConfigName=config)
    endpoint.eventually(lambda: len(world.containers) == 2)
    world.containers[1].stop()
    described = endpoint.await_status("InService")
    assert described["EndpointConfigName"] == before
    assert "did not pass the ping health check" in described["FailureReason"]
    assert world.running == [world.containers[0]]
    assert endpoint.await_object(endpoint.invoke({})["OutputLocation"])


def test_endpoint_that_is_changing_refuses_another_change(stack: Any, world: Any) -> None:
    world.ping_status = 503
    config = stack.configure()
    stack.create_endpoint(config)
    with pytest.raises(ClientError, match="Cannot update in-progress endpoint"):
        stack.sagemaker.update_endpoint(EndpointName=stack.name, EndpointConfigName=config)


def scale(endpoint: Any, count: int) -> None:
    endpoint.sagemaker.update_endpoint_weights_and_capacities(
        EndpointName=endpoint.name,
        DesiredWeightsAndCapacities=[{"VariantName": "AllTraffic", "DesiredInstanceCount": count}],
    )


def test_requests_wait_while_scaled_to_zero_and_are_served_after_waking(endpoint: Any, world: Any) -> None:
    scale(endpoint, 0)
    (variant,) = endpoint.await_status("InService")["ProductionVariants"]
    assert (variant["DesiredInstanceCount"], variant["CurrentInstanceCount"]) == (0, 0)
    assert world.running == []
    answer = endpoint.invoke({"text": "waited"})
    assert endpoint.object(answer["OutputLocation"]) is None
    scale(endpoint, 1)
    assert json.loads(endpoint.await_object(answer["OutputLocation"])) == {"text": "waited"}
    assert len(world.containers) == 2


@documented(API + "API_AsyncInferenceClientConfig.html")
def test_scaled_out_endpoint_uses_all_instances(endpoint: Any, world: Any) -> None:
    """MaxConcurrentInvocationsPerInstance is the maximum number of concurrent requests sent to the container."""
    scale(endpoint, 3)
    endpoint.await_status("InService")
    assert len(world.running) == 3
    answers = [endpoint.invoke({"sleep": 0.3}) for _ in range(6)]
    for answer in answers:
        endpoint.await_object(answer["OutputLocation"])
    assert [container.max_in_flight for container in world.containers] == [2, 2, 2]


@documented(
    API + "API_UpdateEndpointWeightsAndCapacities.html",
    unknown="AWS does not say what becomes of requests in progress on an instance that goes; here they are finished",
)
def test_scaling_in_completes_all_requests(endpoint: Any, world: Any) -> None:
    """UpdateEndpointWeightsAndCapacities updates the capacity of a variant."""
    scale(endpoint, 2)
    endpoint.await_status("InService")
    answers = [endpoint.invoke({"sleep": 1.5}, InferenceId=f"r{number}") for number in range(4)]
    endpoint.eventually(lambda: len(world.received) == 4)
    scale(endpoint, 1)
    for answer in answers:
        assert endpoint.await_object(answer["OutputLocation"])
    messages = endpoint.messages(4)
    assert sorted(message["inferenceId"] for message in messages) == ["r0", "r1", "r2", "r3"]
    assert {message["invocationStatus"] for message in messages} == {"Completed"}


def test_unknown_variant_is_refused(endpoint: Any) -> None:
    with pytest.raises(ClientError, match="not present within endpoint configuration"):
        endpoint.sagemaker.update_endpoint_weights_and_capacities(
            EndpointName=endpoint.name,
            DesiredWeightsAndCapacities=[{"VariantName": "Other", "DesiredInstanceCount": 1}],
        )


@documented(CONTAINER)
def test_dead_container_is_replaced_and_its_request_served(endpoint: Any, world: Any) -> None:
    """SageMaker launches new inference containers to replace unhealthy instances."""
    answer = endpoint.invoke({"sleep": 1.5, "text": "survives"})
    endpoint.eventually(lambda: world.received)
    world.containers[0].stop()
    assert json.loads(endpoint.await_object(answer["OutputLocation"])) == {"text": "survives"}
    assert len(world.containers) == 2
    assert endpoint.messages(1)[0]["invocationStatus"] == "Completed"


@documented(CONTAINER)
def test_container_that_stops_answering_its_ping_is_replaced(
    stack: Any, world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SageMaker sends periodic GET requests to the /ping endpoint, and replaces unhealthy instances."""
    monkeypatch.setattr("local_aws.sagemaker.variant._UNHEALTHY_SECONDS", 0.5)
    stack.create_endpoint(stack.configure())
    stack.await_status("InService")
    world.containers[0].ping_status = 500
    stack.eventually(lambda: len(world.running) == 1 and len(world.containers) == 2)


@documented(API + "API_runtime_InvokeEndpointAsync.html")
def test_request_expires_while_no_instance_runs(endpoint: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """RequestTTLSeconds: maximum age in seconds a request can be in the queue before it is marked as expired."""
    scale(endpoint, 0)
    endpoint.await_status("InService")
    monkeypatch.setattr(invocation_request, "_DEFAULT_TTL_SECONDS", 1)
    answer = endpoint.invoke({})
    (message,) = endpoint.messages(1)
    assert message["invocationStatus"] == "Expired"
    assert message["topic"] == "error"
    assert message["responseParameters"] == {"failureLocation": answer["FailureLocation"]}
    assert b"RequestTTLSeconds" in endpoint.object(answer["FailureLocation"])
