"""The production variants that CreateEndpointConfig accepts and refuses, through boto3."""

from typing import Any

import pytest
from botocore.exceptions import ClientError

GPU_AMI, NEURON_AMI = "al2-ami-sagemaker-inference-gpu-3-1", "al2-ami-sagemaker-inference-neuron-2"
SECONDS = "ContainerStartupHealthCheckTimeoutInSeconds"
G5, C7I = ({"InstanceType": f"ml.{family}.4xlarge", "Priority": p} for p, family in enumerate(("g5", "c7i"), start=1))


@pytest.mark.parametrize("instance_type", ["ml.c7i.4xlarge", "ml.m7i.4xlarge", "ml.c6i.4xlarge", "ml.c5.large"])
def test_cpu_instances_are_accepted(stack: Any, instance_type: str) -> None:
    stack.create_endpoint(stack.configure(InstanceType=instance_type))
    stack.await_status("InService")


@pytest.mark.parametrize(
    "variant",
    [
        {"InstanceType": "ml.g5.2xlarge", "InferenceAmiVersion": GPU_AMI},
        {"InstanceType": "ml.inf2.xlarge", "InferenceAmiVersion": NEURON_AMI},
        {SECONDS: 60},
        {SECONDS: 3600},
    ],
)
def test_settings_within_their_limits_are_described_as_given(stack: Any, variant: dict[str, Any]) -> None:
    name = stack.configure(**variant)
    (described,) = stack.sagemaker.describe_endpoint_config(EndpointConfigName=name)["ProductionVariants"]
    assert described.items() >= variant.items()


@pytest.mark.parametrize(
    ("variant", "sentence"),
    [
        ({SECONDS: 3601}, "'3601' at .*containerStartupHealthCheck.* less than or equal to 3600"),
        ({"ModelDataDownloadTimeoutInSeconds": 3601}, "must have value less than or equal to 3600"),
        ({"InstanceType": "ml.g9.huge"}, "'ml.g9.huge' at .*instanceType.* enum value set"),
        ({"InferenceAmiVersion": "al2-ami-sagemaker-inference-gpu-9"}, "enum value set: .*gpu-3-1"),
        ({"InferenceAmiVersion": GPU_AMI, "InstanceType": "ml.c7i.4xlarge"}, "NVIDIA GPU, got ml.c7i.4xlarge"),
        ({"InferenceAmiVersion": NEURON_AMI, "InstanceType": "ml.g5.xlarge"}, "Inferentia or Trainium, got ml.g5"),
    ],
)
def test_settings_that_sagemaker_refuses_are_refused(stack: Any, variant: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ClientError, match=sentence) as refused:
        stack.configure(**variant)
    assert refused.value.response.get("Error", {}).get("Code") == "ValidationException"


def test_image_for_gpus_is_refused_if_one_pool_has_none(stack: Any) -> None:
    pools = {"VariantName": "AllTraffic", "ModelName": f"{stack.name}-model", "InitialInstanceCount": 1}
    with pytest.raises(ClientError, match=r"NVIDIA GPU, got ml\.c7i\.4xlarge"):
        stack.sagemaker.create_endpoint_config(
            EndpointConfigName="pools",
            ProductionVariants=[{**pools, "InstancePools": [G5, C7I], "InferenceAmiVersion": GPU_AMI}],
        )


def test_startup_timeout_below_the_range_is_refused(stack: Any) -> None:
    """The SDK itself refuses it, with the same limit, before it calls SageMaker."""
    with pytest.raises(Exception, match=f"{SECONDS}, value: 59, valid min value: 60"):
        stack.configure(**{SECONDS: 59})
