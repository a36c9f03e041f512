"""An endpoint configuration with its model, resolved to what an endpoint runs."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

# Defaults. The first is AWS's documented ping time-out. AWS documents none for the second and calls the third "an
# optimal value": one request at a time is safe for every model.
_DEFAULT_STARTUP_SECONDS = 480
_DEFAULT_DOWNLOAD_SECONDS = 3600
_DEFAULT_CONCURRENCY = 1


@dataclass(frozen=True)
class ModelData:
    """Where a model is stored: the tarball at `url`, or the objects under the prefix `url`, each a file."""

    url: str
    prefix: bool = False


@dataclass(frozen=True)
class EndpointConfig:
    """The one production variant of an asynchronous endpoint: what to run, with which role, and where results go.

    Times are in seconds. `environment` is the model's.
    """

    endpoint_name: str
    endpoint_config_name: str
    variant_name: str
    account: str
    region: str
    role_arn: str
    model_data: ModelData
    environment: Mapping[str, str]
    initial_instance_count: int
    download_timeout: int
    startup_timeout: int
    concurrency: int
    output_path: str
    failure_path: str | None
    success_topic: str | None
    error_topic: str | None
    instance_types: tuple[str, ...] = ()
    image: str = ""
    async_inference: Mapping[str, Any] = field(default_factory=dict[str, Any])  # as DescribeEndpoint shows it


def resolve_config(
    endpoint_name: str, config: Mapping[str, Any], model: Mapping[str, Any], *, account: str, region: str
) -> EndpointConfig:
    """Return what an endpoint runs; `config` and `model` are responses of Describe calls (PascalCase keys).

    Raises ValueError for a configuration that the embedded AWS cannot run; the text suits an API error.
    """
    variants = config["ProductionVariants"]
    if len(variants) != 1:
        raise ValueError(f"an asynchronous endpoint must have exactly one production variant, got {len(variants)}")
    if not config.get("AsyncInferenceConfig"):
        raise ValueError("AsyncInferenceConfig must be set: the embedded AWS runs asynchronous endpoints only")
    variant: Mapping[str, Any] = variants[0]
    container: Mapping[str, Any] = model.get("PrimaryContainer") or {}
    output: Mapping[str, Any] = config["AsyncInferenceConfig"]["OutputConfig"]
    client: Mapping[str, Any] = config["AsyncInferenceConfig"].get("ClientConfig") or {}
    topics: Mapping[str, Any] = output.get("NotificationConfig") or {}
    if topics.get("IncludeInferenceResponseIn"):
        raise ValueError("IncludeInferenceResponseIn must be empty: the embedded AWS sends locations, not responses")
    failure_path = output.get("S3FailurePath")
    return EndpointConfig(
        endpoint_name=endpoint_name,
        endpoint_config_name=config["EndpointConfigName"],
        variant_name=variant["VariantName"],
        account=account,
        region=region,
        role_arn=model["ExecutionRoleArn"],
        model_data=_model_data(container),
        environment=dict(container.get("Environment") or {}),
        initial_instance_count=int(variant.get("InitialInstanceCount", 1)),
        download_timeout=int(variant.get("ModelDataDownloadTimeoutInSeconds", _DEFAULT_DOWNLOAD_SECONDS)),
        startup_timeout=int(variant.get("ContainerStartupHealthCheckTimeoutInSeconds", _DEFAULT_STARTUP_SECONDS)),
        concurrency=int(client.get("MaxConcurrentInvocationsPerInstance", _DEFAULT_CONCURRENCY)),
        output_path=output["S3OutputPath"].rstrip("/"),
        failure_path=failure_path.rstrip("/") if failure_path else None,
        success_topic=topics.get("SuccessTopic"),
        error_topic=topics.get("ErrorTopic"),
        instance_types=tuple(pool["InstanceType"] for pool in variant.get("InstancePools") or [variant]),
        image=container.get("Image") or "",
        async_inference=config["AsyncInferenceConfig"],
    )


def _model_data(container: Mapping[str, Any]) -> ModelData:
    """Return a tarball (ModelDataUrl) or a prefix of uncompressed files, the one ModelDataSource that is supported."""
    url: str = container.get("ModelDataUrl") or ""
    if container.get("ModelDataSource") is None:
        if not url.startswith("s3://"):
            raise ValueError(f"PrimaryContainer.ModelDataUrl must be an s3:// URL of a tarball, got {url!r}")
        return ModelData(url)
    if url:
        raise ValueError("PrimaryContainer must have ModelDataUrl or ModelDataSource, got both")
    source: Mapping[str, Any] = container["ModelDataSource"].get("S3DataSource") or {}
    kind = (source.get("S3DataType"), source.get("CompressionType"))
    if kind != ("S3Prefix", "None"):
        raise ValueError(f"S3DataSource must be of S3DataType S3Prefix and CompressionType None, got {kind}")
    prefix: str = source.get("S3Uri") or ""
    if not (prefix.startswith("s3://") and prefix.endswith("/")):
        raise ValueError(f"S3DataSource.S3Uri must be an s3:// URL of a prefix that ends with a slash, got {prefix!r}")
    return ModelData(prefix, prefix=True)
