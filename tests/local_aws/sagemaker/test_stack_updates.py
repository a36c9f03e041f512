"""CloudFormation's handler of endpoints that are changing, with fake containers."""

import threading
from typing import Any

import pytest
from botocore.exceptions import ClientError

from conformance.behaviour import documented
from local_aws.emulator import clients
from local_aws.emulator.resources.base import Context
from local_aws.emulator.resources.sagemaker import Endpoint

STATES = "https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/using-cfn-describing-stacks.html"
UNKNOWN = "AWS does not document its handler; here the update fails, and the rollback waits for the endpoint"
CONTEXT = Context("stack", "stack-id", "Endpoint", "AWS::SageMaker::Endpoint", "us-east-1")


def wake(endpoint: Any, world: Any) -> None:
    """Let the endpoint be Updating until its new container answers the ping."""
    world.ping_status = 503
    endpoint.sagemaker.update_endpoint_weights_and_capacities(
        EndpointName=endpoint.name,
        DesiredWeightsAndCapacities=[{"VariantName": "AllTraffic", "DesiredInstanceCount": 2}],
    )
    endpoint.eventually(lambda: len(world.containers) == 2)


def later(world: Any) -> None:
    threading.Timer(0.7, lambda: setattr(world.containers[1], "ping_status", 200)).start()


@documented(STATES, unknown=UNKNOWN)
def test_an_update_that_meets_a_waking_endpoint_is_rolled_back(endpoint: Any, world: Any) -> None:
    """UPDATE_ROLLBACK_COMPLETE: successful return of a stack to a previous working state after a failed update."""
    described = endpoint.describe()
    old, new = ({"EndpointConfigName": name} for name in (described["EndpointConfigName"], endpoint.configure("v2")))
    wake(endpoint, world)
    with pytest.raises(ClientError, match="Cannot update in-progress endpoint"):
        Endpoint().update(CONTEXT, described["EndpointArn"], old, new)
    later(world)
    Endpoint().update(CONTEXT, described["EndpointArn"], new, old)
    after = endpoint.describe()
    assert (after["EndpointStatus"], after["EndpointConfigName"]) == ("InService", old["EndpointConfigName"])
    assert len(world.running) == 2


def test_a_deletion_waits_for_a_waking_endpoint(endpoint: Any, world: Any) -> None:
    wake(endpoint, world)
    later(world)
    Endpoint().delete(CONTEXT, endpoint.describe()["EndpointArn"], {})
    assert endpoint.name not in str(endpoint.sagemaker.list_endpoints()["Endpoints"])


@documented("https://docs.aws.amazon.com/sagemaker/latest/dg/endpoint-delete-with-scaling.html")
def test_deletion_deregisters_scalable_targets(endpoint: Any) -> None:
    """If you delete an endpoint, Application Auto Scaling deregisters its models as scalable targets."""
    autoscaling = clients.client("application-autoscaling")
    target: dict[str, Any] = {
        "ServiceNamespace": "sagemaker",
        "ScalableDimension": "sagemaker:variant:DesiredInstanceCount",
        "ResourceId": f"endpoint/{endpoint.name}/variant/AllTraffic",
    }
    autoscaling.register_scalable_target(**target, MinCapacity=0, MaxCapacity=1)
    autoscaling.put_scaling_policy(
        **target,
        PolicyName="p",
        PolicyType="StepScaling",
        StepScalingPolicyConfiguration={
            "AdjustmentType": "ChangeInCapacity",
            "StepAdjustments": [{"MetricIntervalLowerBound": 0, "ScalingAdjustment": 1}],
        },
    )
    endpoint.sagemaker.delete_endpoint(EndpointName=endpoint.name)
    found = autoscaling.describe_scalable_targets(ServiceNamespace="sagemaker", ResourceIds=[target["ResourceId"]])
    assert found["ScalableTargets"] == []
    policies = autoscaling.describe_scaling_policies(ServiceNamespace="sagemaker", ResourceId=target["ResourceId"])
    assert policies["ScalingPolicies"] == []
