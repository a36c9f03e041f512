"""What an endpoint configuration and its model say about one production variant."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# Defaults where the configuration says nothing. The first is AWS's documented ping time-out; AWS documents none for the
# second and calls the third "an optimal value": one request at a time promises nothing that a model may not keep.
_DEFAULT_STARTUP_SECONDS = 480
_DEFAULT_DOWNLOAD_SECONDS = 3600
_DEFAULT_CONCURRENCY = 1


@dataclass(frozen=True)
class ModelData:
    """Where a model lies: the tarball at `url`, or every object under the prefix `url`, each a file."""

    url: str
    prefix: bool = False


@dataclass(frozen=True)
class VariantDefinition:
    """One production variant of an asynchronous endpoint, resolved: what to run, as whom, and where answers go.

    Times are in seconds. `environment` is the container's, as the model defines it.
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


def resolve(
    endpoint_name: str, config: Mapping[str, Any], model: Mapping[str, Any], *, account: str, region: str
) -> VariantDefinition:
    """The definition behind an endpoint: `config` and `model` are Describe answers (PascalCase keys).

    Raises ValueError for a configuration that the embedded AWS cannot run; the text is fit for an API error.
    """
    variants = config["ProductionVariants"]
    if len(variants) != 1:
        raise ValueError(f"an asynchronous endpoint must have exactly one production variant, got {len(variants)}")
    if not config.get("AsyncInferenceConfig"):
        raise ValueError("AsyncInferenceConfig must be set: the embedded AWS runs asynchronous endpoints only")
    variant: Mapping[str, Any] = variants[0]
    container: Mapping[str, Any] = model.get("PrimaryContainer") or {}
    return VariantDefinition(
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
        **_async_fields(config["AsyncInferenceConfig"]),
    )


def _model_data(container: Mapping[str, Any]) -> ModelData:
    source = container.get("ModelDataSource")
    if source is not None:
        return _data_source(source.get("S3DataSource") or {}, container)
    url: str = container.get("ModelDataUrl") or ""
    if not url.startswith("s3://"):
        raise ValueError(f"PrimaryContainer.ModelDataUrl must be an s3:// URL of a tarball, got {url!r}")
    return ModelData(url)


def _data_source(source: Mapping[str, Any], container: Mapping[str, Any]) -> ModelData:
    """Uncompressed files under a prefix, of the forms of SageMaker's S3ModelDataSource the one that is run here."""
    if container.get("ModelDataUrl"):
        raise ValueError("PrimaryContainer must have ModelDataUrl or ModelDataSource, got both")
    kind = (source.get("S3DataType"), source.get("CompressionType"))
    if kind != ("S3Prefix", "None"):
        raise ValueError(f"S3DataSource must be of S3DataType S3Prefix and CompressionType None, got {kind}")
    url: str = source.get("S3Uri") or ""
    if not (url.startswith("s3://") and url.endswith("/")):
        raise ValueError(f"S3DataSource.S3Uri must be an s3:// URL of a prefix that ends with a slash, got {url!r}")
    return ModelData(url, prefix=True)


def _async_fields(async_config: Mapping[str, Any]) -> dict[str, Any]:
    output: Mapping[str, Any] = async_config["OutputConfig"]
    topics: Mapping[str, Any] = output.get("NotificationConfig") or {}
    if topics.get("IncludeInferenceResponseIn"):
        raise ValueError("IncludeInferenceResponseIn must be empty: the embedded AWS sends locations, not responses")
    client: Mapping[str, Any] = async_config.get("ClientConfig") or {}
    failure_path = output.get("S3FailurePath")
    return {
        "concurrency": int(client.get("MaxConcurrentInvocationsPerInstance", _DEFAULT_CONCURRENCY)),
        "output_path": output["S3OutputPath"].rstrip("/"),
        "failure_path": failure_path.rstrip("/") if failure_path else None,
        "success_topic": topics.get("SuccessTopic"),
        "error_topic": topics.get("ErrorTopic"),
    }
