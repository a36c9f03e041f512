"""The container's registries match the SageMaker SDK's, and every instance type has a price."""

import itertools
from typing import Any

import pytest
from botocore.session import Session

from infra.config import images, instances

ALL_REGIONS = sorted(images.REGISTRY_ACCOUNTS)


@pytest.fixture
def sdk(monkeypatch: pytest.MonkeyPatch) -> Any:
    """sagemaker-core's image_uris, imported late: the import takes seconds and needs a region."""
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    from sagemaker.core import image_uris

    return image_uris


@pytest.mark.filterwarnings("default")
def test_images_match_the_sagemaker_sdk_in_every_region(sdk: Any) -> None:
    registries = sdk.config_for_framework("huggingface")["inference"]["versions"]["5.5.3"]["pytorch2.6.0"]["registries"]
    assert sorted(registries) == ALL_REGIONS
    for region, (device, instance_type) in itertools.product(
        ALL_REGIONS, {"cuda": "ml.g5.2xlarge", "cpu": "ml.c7i.4xlarge"}.items()
    ):
        assert images.image_uri(region, device) == sdk.retrieve(
            framework="huggingface",
            region=region,
            version="5.5.3",
            base_framework_version="pytorch2.6.0",
            py_version="py312",
            instance_type=instance_type,
            image_scope="inference",
        )


def test_partitions_have_their_own_domains() -> None:
    assert images.image_uri("cn-north-1", "cuda").startswith(
        "727897471807.dkr.ecr.cn-north-1.amazonaws.com.cn/huggingface-"
    )
    assert ".us-iso-east-1.c2s.ic.gov/" in images.image_uri("us-iso-east-1", "cpu")
    assert ".us-isob-east-1.sc2s.sgov.gov/" in images.image_uri("us-isob-east-1", "cpu")
    assert ".us-gov-west-1.amazonaws.com/" in images.image_uri("us-gov-west-1", "cpu")


def test_every_familys_host_image_is_known_to_sagemaker_and_has_a_source() -> None:
    model = Session().get_service_model("sagemaker")
    known: list[str] = model.shape_for("ProductionVariantInferenceAmiVersion").metadata["enum"]
    for family in instances.GPU_FAMILIES.values():
        assert family["inference_ami_version"] in known
        assert family["source"]


def test_prices_and_instance_types_match() -> None:
    prices = instances.PRICES
    assert set(prices["usd_per_hour"]) == set(instances.INSTANCE_TYPES)
    assert all(0 < price < 100 for price in prices["usd_per_hour"].values())
    assert set(prices) == {"as_of", "region", "source", "usd_per_hour", "estimated"}
    assert set(prices["estimated"]["types"]) == {name for name in prices["usd_per_hour"] if not instances.has_gpu(name)}


def test_every_instance_type_can_host_an_endpoint_and_has_what_sizing_needs() -> None:
    model = Session().get_service_model("sagemaker")
    known: list[str] = model.shape_for("ProductionVariantInstanceType").metadata["enum"]
    assert set(instances.INSTANCE_TYPES) <= set(known)
    for name in instances.INSTANCE_TYPES:
        if instances.has_gpu(name):
            assert instances.memory_bytes(name) >= 24e9
            nominal = {"NVIDIA A10G": 600e9, "NVIDIA L4": 300e9, "NVIDIA L40S": 864e9}
            assert instances.bytes_per_second(name) == nominal[instances.INSTANCE_TYPES[name]["gpu"]] / 2
        else:
            assert instances.memory_bytes(name) >= 32 * 1024**3
            assert instances.bytes_per_second(name) == pytest.approx(1.6e9 * instances.INSTANCE_TYPES[name]["vcpus"])
