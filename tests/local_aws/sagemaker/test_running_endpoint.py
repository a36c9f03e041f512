"""A running endpoint: updates, scaling and the loss of containers, through boto3, with fake containers."""

import json
from typing import Any

import pytest
from botocore.exceptions import ClientError

from local_aws.sagemaker import invocation_request


def test_update_starts_the_new_container_before_the_old_one_stops(endpoint: Any, world: Any) -> None:
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


def test_update_lets_the_old_container_finish_its_requests(endpoint: Any, world: Any) -> None:
    answer = endpoint.invoke({"sleep": 2, "text": "old"})
    endpoint.eventually(lambda: world.received)
    endpoint.sagemaker.update_endpoint(EndpointName=endpoint.name, EndpointConfigName=endpoint.configure("config2"))
    endpoint.await_status("InService")
    assert json.loads(endpoint.await_object(answer["OutputLocation"])) == {"text": "old"}
    assert len(world.received) == 1
    endpoint.eventually(lambda: len(world.running) == 1)


def test_update_that_retains_variant_properties_keeps_the_instance_count(endpoint: Any, world: Any) -> None:
    scale(endpoint, 2)
    endpoint.await_status("InService")
    endpoint.sagemaker.update_endpoint(
        EndpointName=endpoint.name, EndpointConfigName=endpoint.configure("config2"), RetainAllVariantProperties=True
    )
    (variant,) = endpoint.await_status("InService")["ProductionVariants"]
    assert variant["DesiredInstanceCount"] == 2
    endpoint.eventually(lambda: world.running == world.containers[2:] and len(world.running) == 2)


def test_update_that_excludes_the_count_from_retention_starts_the_configured_instances(
    endpoint: Any, world: Any
) -> None:
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


def test_update_at_zero_instances_starts_the_new_ones(endpoint: Any, world: Any) -> None:
    scale(endpoint, 0)
    endpoint.await_status("InService")
    answer = endpoint.invoke({"text": "waited"})
    endpoint.sagemaker.update_endpoint(EndpointName=endpoint.name, EndpointConfigName=endpoint.configure("config2"))
    assert json.loads(endpoint.await_object(answer["OutputLocation"])) == {"text": "waited"}
    assert len(world.running) == 1


def test_failed_update_keeps_the_old_container_and_configuration(endpoint: Any, world: Any) -> None:
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


def test_scaled_out_endpoint_uses_all_instances(endpoint: Any, world: Any) -> None:
    scale(endpoint, 3)
    endpoint.await_status("InService")
    assert len(world.running) == 3
    answers = [endpoint.invoke({"sleep": 0.3}) for _ in range(6)]
    for answer in answers:
        endpoint.await_object(answer["OutputLocation"])
    assert [container.max_in_flight for container in world.containers] == [2, 2, 2]


def test_scaling_in_completes_all_requests(endpoint: Any, world: Any) -> None:
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


def test_dead_container_is_replaced_and_its_request_served(endpoint: Any, world: Any) -> None:
    answer = endpoint.invoke({"sleep": 1.5, "text": "survives"})
    endpoint.eventually(lambda: world.received)
    world.containers[0].stop()
    assert json.loads(endpoint.await_object(answer["OutputLocation"])) == {"text": "survives"}
    assert len(world.containers) == 2
    assert endpoint.messages(1)[0]["invocationStatus"] == "Completed"


def test_container_that_stops_answering_its_ping_is_replaced(
    stack: Any, world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("local_aws.sagemaker.variant._UNHEALTHY_SECONDS", 0.5)
    stack.create_endpoint(stack.configure())
    stack.await_status("InService")
    world.containers[0].ping_status = 500
    stack.eventually(lambda: len(world.running) == 1 and len(world.containers) == 2)


def test_request_expires_while_no_instance_runs(endpoint: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    scale(endpoint, 0)
    endpoint.await_status("InService")
    monkeypatch.setattr(invocation_request, "_DEFAULT_TTL_SECONDS", 1)
    answer = endpoint.invoke({})
    (message,) = endpoint.messages(1)
    assert message["invocationStatus"] == "Expired"
    assert message["topic"] == "error"
    assert message["responseParameters"] == {"failureLocation": answer["FailureLocation"]}
    assert b"RequestTTLSeconds" in endpoint.object(answer["FailureLocation"])
