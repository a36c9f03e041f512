"""CreateEndpointConfig and its relatives: what they accept and what they describe. No row starts an instance."""

from collections.abc import Callable
from typing import Any

import pytest
from botocore.config import Config

from conformance.behaviour import documented
from conformance.workspace import Workspace, error_code
from tests.conformance.endpoints import INSTANCE_TYPE, AsyncEndpoint

API = "https://docs.aws.amazon.com/sagemaker/latest/APIReference/"
CREATE = API + "API_CreateEndpointConfig.html"
DELETE = API + "API_DeleteEndpointConfig.html"
VARIANT = API + "API_ProductionVariant.html"
POOL = API + "API_InstancePool.html"
ASYNC = API + "API_AsyncInferenceConfig.html"
CLIENT = API + "API_AsyncInferenceClientConfig.html"
OUTPUT = API + "API_AsyncInferenceOutputConfig.html"
NOTIFICATION = API + "API_AsyncInferenceNotificationConfig.html"
MODEL = API + "API_CreateModel.html"
POOLS = [{"InstanceType": INSTANCE_TYPE, "Priority": 1}, {"InstanceType": "ml.m5.xlarge", "Priority": 2}]

Create = Callable[..., str]


@pytest.fixture(scope="module")
def stack(workspace: Workspace) -> AsyncEndpoint:
    """Everything but an endpoint."""
    return AsyncEndpoint(workspace)


@pytest.fixture
def sagemaker(workspace: Workspace) -> Any:
    """A client without the SDK's own checks."""
    config = Config(parameter_validation=False, retries={"total_max_attempts": 1})
    return workspace.client("sagemaker", config=config)


@pytest.fixture
def create(stack: AsyncEndpoint, sagemaker: Any) -> Create:
    """Create a configuration with these changes to its variant, async settings or call; return its name."""

    def make(
        variant: dict[str, Any] | None = None,
        asynchronous: dict[str, Any] | None = None,
        drop: tuple[str, ...] = (),
        **call: Any,
    ) -> str:
        name = stack.workspace.name("config")
        first = {"VariantName": "A", "ModelName": stack.model, "InstanceType": INSTANCE_TYPE, "InitialInstanceCount": 1}
        first = {key: value for key, value in {**first, **(variant or {})}.items() if key not in drop}
        output = {"OutputConfig": {"S3OutputPath": f"s3://{stack.bucket}/out/"}}
        parameters = {"ProductionVariants": [first], "AsyncInferenceConfig": {**output, **(asynchronous or {})}, **call}
        sagemaker.create_endpoint_config(EndpointConfigName=name, **parameters)
        stack.workspace.later(name, lambda: sagemaker.delete_endpoint_config(EndpointConfigName=name))
        return name

    return make


def refused(call: Callable[[], Any]) -> bool:
    return error_code(call)[0] == "ValidationException"


def variant_of(sagemaker: Any, name: str) -> dict[str, Any]:
    return sagemaker.describe_endpoint_config(EndpointConfigName=name)["ProductionVariants"][0]


@documented(CREATE)
def test_a_configuration_is_described_as_given(create: Create, sagemaker: Any, stack: AsyncEndpoint) -> None:
    """DescribeEndpointConfig returns the configuration that CreateEndpointConfig created."""
    settings = {"ModelDataDownloadTimeoutInSeconds": 600, "ContainerStartupHealthCheckTimeoutInSeconds": 900}
    name = create(settings, {"ClientConfig": {"MaxConcurrentInvocationsPerInstance": 3}})
    described = sagemaker.describe_endpoint_config(EndpointConfigName=name)
    assert described["ProductionVariants"][0].items() >= settings.items()
    assert described["AsyncInferenceConfig"]["ClientConfig"] == {"MaxConcurrentInvocationsPerInstance": 3}
    assert described["AsyncInferenceConfig"]["OutputConfig"]["S3OutputPath"] == f"s3://{stack.bucket}/out/"
    assert described["EndpointConfigArn"].endswith(f":endpoint-config/{name}")


@documented(VARIANT)
def test_a_variant_weighs_one(create: Create, sagemaker: Any) -> None:
    """If InitialVariantWeight is unspecified, it defaults to 1.0."""
    assert variant_of(sagemaker, create())["InitialVariantWeight"] == 1.0


@documented(VARIANT)
def test_at_least_one_instance_is_launched(create: Create) -> None:
    """InitialInstanceCount: minimum value of 1."""
    assert refused(lambda: create({"InitialInstanceCount": 0}))


@documented(VARIANT)
def test_the_startup_timeout_is_60_to_3600_seconds(create: Create) -> None:
    """ContainerStartupHealthCheckTimeoutInSeconds: minimum value of 60, maximum value of 3600."""
    for seconds in (59, 3601):
        assert refused(lambda seconds=seconds: create({"ContainerStartupHealthCheckTimeoutInSeconds": seconds}))
    for seconds in (60, 3600):
        assert create({"ContainerStartupHealthCheckTimeoutInSeconds": seconds})


@documented(VARIANT)
def test_the_download_timeout_is_60_to_3600_seconds(create: Create) -> None:
    """ModelDataDownloadTimeoutInSeconds: minimum value of 60, maximum value of 3600."""
    for seconds in (59, 3601):
        assert refused(lambda seconds=seconds: create({"ModelDataDownloadTimeoutInSeconds": seconds}))
    for seconds in (60, 3600):
        assert create({"ModelDataDownloadTimeoutInSeconds": seconds})


@documented(VARIANT)
def test_a_volume_has_1_to_512_gigabytes(create: Create) -> None:
    """VolumeSizeInGB: minimum value of 1, maximum value of 512."""
    for size in (0, 513):
        assert refused(lambda size=size: create({"VolumeSizeInGB": size}))


@documented(VARIANT)
def test_the_instance_type_is_one_of_sagemakers(create: Create) -> None:
    """InstanceType must be one of the ML compute instance types."""
    assert refused(lambda: create({"InstanceType": "ml.g9.huge"}))


@documented(VARIANT)
def test_the_machine_image_is_one_of_sagemakers(create: Create) -> None:
    """InferenceAmiVersion must be one of the preconfigured images."""
    assert refused(lambda: create({"InferenceAmiVersion": "al2-ami-sagemaker-inference-gpu-9"}))


@documented(VARIANT)
def test_a_variant_name_is_letters_digits_and_hyphens(create: Create) -> None:
    """VariantName: at most 63 characters that match [a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}."""
    for name in ("a_b", "-a", "x" * 64):
        assert refused(lambda name=name: create({"VariantName": name}))


@documented(VARIANT)
def test_instances_are_provisioned_for_300_to_3600_seconds(create: Create, sagemaker: Any) -> None:
    """VariantInstanceProvisionTimeoutInSeconds: valid values are 300 to 3600."""
    for seconds in (299, 3601):
        assert refused(lambda seconds=seconds: create({"VariantInstanceProvisionTimeoutInSeconds": seconds}))
    name = create({"VariantInstanceProvisionTimeoutInSeconds": 300})
    assert variant_of(sagemaker, name)["VariantInstanceProvisionTimeoutInSeconds"] == 300


@documented(VARIANT)
def test_instance_pools_replace_the_instance_type(create: Create, sagemaker: Any) -> None:
    """InstancePools lists instance types with their priority for provisioning."""
    name = create({"InstancePools": POOLS}, drop=("InstanceType",))
    assert variant_of(sagemaker, name)["InstancePools"] == POOLS


@documented(VARIANT)
def test_a_variant_has_at_most_five_pools(create: Create) -> None:
    """InstancePools: minimum number of 1 item, maximum number of 5 items."""
    six = [{"InstanceType": "ml.m5.large", "Priority": number % 5 + 1} for number in range(6)]
    for pools in ([], six):
        assert refused(lambda pools=pools: create({"InstancePools": pools}, drop=("InstanceType",)))


@documented(POOL)
def test_a_priority_is_1_to_5(create: Create) -> None:
    """Priority: valid values are 1 to 5, where 1 is the highest priority."""
    for priority in (0, 6):
        pools = [{"InstanceType": INSTANCE_TYPE, "Priority": priority}]
        assert refused(lambda pools=pools: create({"InstancePools": pools}, drop=("InstanceType",)))


@documented(POOL)
def test_a_pool_has_type_and_priority(create: Create) -> None:
    """InstanceType and Priority of an InstancePool are required."""
    for pool in ({"Priority": 1}, {"InstanceType": INSTANCE_TYPE}):
        assert refused(lambda pool=pool: create({"InstancePools": [pool]}, drop=("InstanceType",)))


@documented(CREATE)
def test_a_configuration_has_at_least_one_variant(create: Create) -> None:
    """ProductionVariants: minimum number of 1 item, maximum number of 10 items."""
    variants = [
        {"VariantName": f"V{n}", "ModelName": "m", "InstanceType": INSTANCE_TYPE, "InitialInstanceCount": 1}
        for n in range(11)
    ]
    for chosen in ([], variants):
        assert refused(lambda chosen=chosen: create(ProductionVariants=chosen))


@documented(CREATE)
def test_a_configuration_name_is_letters_digits_and_hyphens(sagemaker: Any, stack: AsyncEndpoint) -> None:
    """EndpointConfigName: at most 63 characters that match [a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}."""
    variant = {"VariantName": "A", "ModelName": stack.model, "InstanceType": INSTANCE_TYPE, "InitialInstanceCount": 1}
    call = sagemaker.create_endpoint_config
    for name in ("a_b", "-a", "x" * 64):
        assert refused(lambda name=name: call(EndpointConfigName=name, ProductionVariants=[variant]))


@documented(CREATE)
def test_the_model_must_exist(create: Create) -> None:
    """In the configuration, you identify models that were created using the CreateModel API."""
    assert refused(lambda: create({"ModelName": "no-such-model"}))


@documented(CREATE, unknown="the reference only asks for a name; here, as in public reports, a second one is refused")
def test_a_configuration_name_is_taken_once(create: Create, sagemaker: Any) -> None:
    """EndpointConfigName is the name of the endpoint configuration in CreateEndpoint requests."""
    name = create()
    variant = variant_of(sagemaker, name)
    call = sagemaker.create_endpoint_config
    assert refused(lambda: call(EndpointConfigName=name, ProductionVariants=[variant]))


@documented(CREATE)
def test_cross_region_traffic_is_not_for_asynchronous_endpoints(create: Create) -> None:
    """CrossRegionTrafficConfig can't be specified with AsyncInferenceConfig."""
    traffic = {"MaxInvocationsPerSecondPerInstance": 1, "MaxCrossRegionPercentPerEndpoint": 1}
    assert refused(lambda: create(CrossRegionTrafficConfig=traffic))


@documented(ASYNC)
def test_the_output_config_is_required(create: Create) -> None:
    """OutputConfig of AsyncInferenceConfig is required."""
    config = {"ClientConfig": {"MaxConcurrentInvocationsPerInstance": 1}}
    assert refused(lambda: create(AsyncInferenceConfig=config))


@documented(CLIENT)
def test_an_instance_takes_1_to_1000_requests_at_once(create: Create) -> None:
    """MaxConcurrentInvocationsPerInstance: minimum value of 1, maximum value of 1000."""
    for number in (0, 1001):
        client = {"MaxConcurrentInvocationsPerInstance": number}
        assert refused(lambda client=client: create(asynchronous={"ClientConfig": client}))
    assert create(asynchronous={"ClientConfig": {"MaxConcurrentInvocationsPerInstance": 1000}})


@documented(OUTPUT)
def test_output_paths_are_urls(create: Create) -> None:
    """S3OutputPath and S3FailurePath have at most 512 characters and are https or s3 URLs."""
    good = "s3://bucket/out"
    for output in (
        {"S3OutputPath": "ftp://bucket/out"},
        {"S3OutputPath": good, "S3FailurePath": "bucket/failures"},
        {"S3OutputPath": good.ljust(513, "x")},
    ):
        assert refused(lambda output=output: create(asynchronous={"OutputConfig": output}))


@documented(NOTIFICATION)
def test_topics_are_arns(create: Create, stack: AsyncEndpoint) -> None:
    """SuccessTopic and ErrorTopic match arn:aws[a-z\\-]*:sns:[a-z0-9\\-]*:[0-9]{12}:[a-zA-Z0-9_.-]+."""
    path = f"s3://{stack.bucket}/out/"
    for kind in ("SuccessTopic", "ErrorTopic"):
        output = {"S3OutputPath": path, "NotificationConfig": {kind: "my-topic"}}
        assert refused(lambda output=output: create(asynchronous={"OutputConfig": output}))


@documented(DELETE)
def test_a_deleted_configuration_is_gone(create: Create, sagemaker: Any) -> None:
    """DeleteEndpointConfig deletes an endpoint configuration."""
    name = create()
    sagemaker.delete_endpoint_config(EndpointConfigName=name)
    assert refused(lambda: sagemaker.describe_endpoint_config(EndpointConfigName=name))


@documented(API + "API_ListEndpointConfigs.html")
def test_configurations_are_listed_by_a_part_of_their_name(create: Create, sagemaker: Any) -> None:
    """NameContains: this filter returns only endpoint configurations whose name contains the specified string."""
    name = create()
    listed = sagemaker.list_endpoint_configs(NameContains=name)["EndpointConfigs"]
    assert [item["EndpointConfigName"] for item in listed] == [name]


@documented(API + "API_ListEndpointConfigs.html", unknown="AWS documents a default of 10 for ListEndpoints only")
def test_configurations_are_listed_ten_at_a_time(stack: AsyncEndpoint, sagemaker: Any) -> None:
    """MaxResults: the maximum number to return in the response."""
    variant = {"VariantName": "A", "ModelName": stack.model, "InstanceType": INSTANCE_TYPE, "InitialInstanceCount": 1}
    prefix = stack.workspace.name("page")
    for number in range(11):
        name = f"{prefix}-{number}"
        sagemaker.create_endpoint_config(EndpointConfigName=name, ProductionVariants=[variant])
        stack.workspace.later(name, lambda name=name: sagemaker.delete_endpoint_config(EndpointConfigName=name))
    first = sagemaker.list_endpoint_configs(NameContains=prefix)
    assert len(first["EndpointConfigs"]) == 10
    second = sagemaker.list_endpoint_configs(NameContains=prefix, NextToken=first["NextToken"])
    assert len(second["EndpointConfigs"]) == 1 and "NextToken" not in second


@documented(API + "API_CreateEndpoint.html")
def test_an_endpoint_needs_an_existing_configuration(sagemaker: Any, stack: AsyncEndpoint) -> None:
    """CreateEndpoint uses the endpoint configuration specified in the request."""
    call = sagemaker.create_endpoint
    assert refused(lambda: call(EndpointName=stack.name, EndpointConfigName="no-such-configuration"))


@documented(API + "API_CreateEndpoint.html")
def test_an_endpoint_name_is_letters_digits_and_hyphens(create: Create, sagemaker: Any) -> None:
    """EndpointName: at most 63 characters that match [a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}."""
    config = create()
    for name in ("a_b", "-a", "x" * 64):
        arguments = {"EndpointName": name, "EndpointConfigName": config}
        assert refused(lambda arguments=arguments: sagemaker.create_endpoint(**arguments))


@documented(MODEL)
def test_a_model_environment_has_at_most_100_variables(sagemaker: Any, stack: AsyncEndpoint) -> None:
    """Environment: maximum number of 100 items. The maximum length of each key and value is 1024 bytes."""
    for environment in ({f"V{n}": "x" for n in range(101)}, {"V": "x" * 1025}, {"V" * 1025: "x"}):
        container = {"Image": "x", "ModelDataUrl": f"s3://{stack.bucket}/x.tar.gz", "Environment": environment}
        name = stack.workspace.name("model")
        arguments = {"ModelName": name, "ExecutionRoleArn": stack.role, "PrimaryContainer": container}
        assert refused(lambda arguments=arguments: sagemaker.create_model(**arguments))


@documented(API + "API_ContainerDefinition.html")
def test_model_data_is_a_url(sagemaker: Any, stack: AsyncEndpoint) -> None:
    """ModelDataUrl: at most 1024 characters that match (https|s3)://([^/]+)/?(.*)."""
    for url in ("ftp://bucket/model.tar.gz", "s3://bucket/".ljust(1025, "x")):
        name = stack.workspace.name("model")
        container = {"Image": "x", "ModelDataUrl": url}
        arguments = {"ModelName": name, "ExecutionRoleArn": stack.role, "PrimaryContainer": container}
        assert refused(lambda arguments=arguments: sagemaker.create_model(**arguments))


@documented(API + "API_DeleteModel.html")
def test_deleting_a_model_keeps_its_artifacts(stack: AsyncEndpoint) -> None:
    """DeleteModel deletes only the model entry: it does not delete model artifacts or the IAM role."""
    model = stack.create_model({})
    stack.sagemaker.delete_model(ModelName=model)
    assert refused(lambda: stack.sagemaker.describe_model(ModelName=model))
    assert stack.object(f"s3://{stack.bucket}/model/model.tar.gz")
