"""Endpoint configurations with pools of instance types, which moto does not support."""

import uuid
from typing import Any

import pytest
from botocore.exceptions import ClientError

from local_aws.emulator.process import LocalAws

G5, G6 = ({"InstanceType": f"ml.{family}.2xlarge", "Priority": p} for p, family in enumerate(("g5", "g6"), start=1))


def configure(aws: LocalAws, **variant: Any) -> str:
    name = f"pools-{uuid.uuid4().hex[:8]}"
    base = {"VariantName": "AllTraffic", "ModelName": name, "InitialInstanceCount": 1}
    sagemaker = aws.client("sagemaker")
    role = "arn:aws:iam::123456789012:role/any"
    sagemaker.create_model(ModelName=name, ExecutionRoleArn=role, PrimaryContainer={"Image": "image"})
    try:
        sagemaker.create_endpoint_config(EndpointConfigName=name, ProductionVariants=[{**base, **variant}])
        described = sagemaker.describe_endpoint_config(EndpointConfigName=name)
        sagemaker.delete_endpoint_config(EndpointConfigName=name)
    finally:
        sagemaker.delete_model(ModelName=name)
    return described["ProductionVariants"][0]["InstancePools"]


def test_accepts_pools_of_known_types_instead_of_an_instance_type(aws: LocalAws) -> None:
    assert configure(aws, InstancePools=[G5, G6]) == [G5, G6]


@pytest.mark.parametrize(
    ("variant", "sentence"),
    [
        ({"InstancePools": [G5], "InstanceType": "ml.g5.2xlarge"}, "must not both be given"),
        ({"InstancePools": [G5, {**G6, "Priority": 1}]}, "different priorities"),
        ({"InstancePools": [{**G5, "InstanceType": "ml.g9.huge"}]}, "failed to satisfy constraint"),
    ],
)
def test_refuses_invalid_pools(aws: LocalAws, variant: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ClientError, match=sentence):
        configure(aws, **variant)
