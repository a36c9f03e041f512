"""The SageMaker asynchronous endpoint: model, endpoint configuration, endpoint, log group and metrics."""

from aws_cdk import Duration, Stack
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_iam as iam
from aws_cdk import aws_logs as logs
from aws_cdk import aws_sagemaker as sagemaker
from constructs import Construct

from infra.config import Config
from infra.config.images import image_uri
from infra.config.instances import inference_ami_version
from infra.constructs.iam import ExecutionRole, acknowledge
from infra.constructs.log_groups import removal, retention
from infra.constructs.notifications import Notifications
from infra.constructs.staged_model import StagedModel
from infra.constructs.storage import FAILURE_PREFIX, RESULT_PREFIX, Storage
from infra.constructs.vpc_access import allow_network_interfaces, vpc_config

VARIANT = "AllTraffic"

# Deliberately low, so that a timeout means a failure and not a slow instance: S3 to an instance and disk to GPU are
# several times faster. The base covers starting the container, Java and Python.
_DOWNLOAD_BYTES_PER_SECOND = 25_000_000
_LOAD_BYTES_PER_SECOND = 50_000_000
_BASE_SECONDS = 300
# A cold image, reading the weights, compiling kernels and recording CUDA graphs; AWS's own examples use 900 and 1200.
_MIN_HEALTH_CHECK_SECONDS = 900
_TIMEOUT_LIMITS = (60, 3600)  # SageMaker's, for both timeouts


class AsyncEndpoint(Construct):
    """An endpoint with one variant and one model.

    Model and configuration are immutable, so they are unnamed and get replaced; the endpoint keeps its name, and with
    it its queue, alarms and log group.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        config: Config,
        staged_model: StagedModel,
        storage: Storage,
        notifications: Notifications,
    ) -> None:
        super().__init__(scope, construct_id)
        self.name = config.endpoint
        self.role = ExecutionRole(self, "Role", config=config)
        allow_network_interfaces(self.role, config)
        model = sagemaker.CfnModel(
            self,
            "Model",
            execution_role_arn=self.role.role_arn,
            primary_container=staged_model.container_definition(
                image=image_uri(config.region, config.device),
                environment=container_environment(
                    config, input_bucket=storage.inputs.bucket_name, output_bucket=storage.outputs.bucket_name
                ),
            ),
            vpc_config=vpc_config(config),
        )
        model.node.add_dependency(self.role)
        endpoint_config = self._endpoint_config(config, model, storage, notifications)
        self.endpoint = sagemaker.CfnEndpoint(
            self,
            "Endpoint",
            endpoint_name=self.name,
            endpoint_config_name=endpoint_config.attr_endpoint_config_name,
            # By default a new model starts on one instance and proves itself there, also while the endpoint is at zero.
            retain_all_variant_properties=config.retain_variant_properties == "yes",
        )
        self.log_group = logs.LogGroup(
            self,
            "Logs",
            log_group_name=f"/aws/sagemaker/Endpoints/{self.name}",
            retention=retention(config),
            removal_policy=removal(config),
        )
        # The endpoint is deleted before its role, log group and buckets, so that nothing writes to them afterwards.
        self.endpoint.node.add_dependency(self.role, self.log_group, storage)
        reason = (
            "CDK's table of types by region lacks some that SageMaker has; infra/config/image_registries.json decides"
        )
        acknowledge(self, {"CloudFormation-Validate::F3006": reason})

    @property
    def arn(self) -> str:
        """The endpoint's ARN."""
        return Stack.of(self).format_arn(service="sagemaker", resource="endpoint", resource_name=self.name)

    def grant_invoke(self, grantee: iam.IGrantable) -> iam.Grant:
        """Send asynchronous requests to this endpoint."""
        return iam.Grant.add_to_principal(
            grantee=grantee, actions=["sagemaker:InvokeEndpointAsync"], resource_arns=[self.arn]
        )

    def metric_queue(self, name: str, *, statistic: str, period: Duration) -> cloudwatch.Metric:
        """Return a metric of the queue, such as ApproximateBacklogSize, which has the dimension EndpointName alone."""
        return self._metric(name, statistic, period, {})

    def metric_requests(self, name: str, *, period: Duration) -> cloudwatch.Metric:
        """Return a sum by endpoint and variant, such as InvocationFailures or ExpiredRequests."""
        return self._metric(name, "Sum", period, {"VariantName": VARIANT})

    def metric_instances(self, *, period: Duration) -> cloudwatch.Metric:
        """Return the number of running instances: each reports its CPU utilisation once a minute."""
        namespace = "/aws/sagemaker/Endpoints"
        return self._metric("CPUUtilization", "SampleCount", period, {"VariantName": VARIANT}, namespace=namespace)

    def metric_container(self, name: str, *, period: Duration) -> cloudwatch.Metric:
        """Return the maximum of a metric that CloudWatch Logs makes of the container's log lines."""
        return self._metric(name, "Maximum", period, {}, namespace="MusicGen")

    def _metric(
        self, name: str, statistic: str, period: Duration, dimensions: dict[str, str], namespace: str = "AWS/SageMaker"
    ) -> cloudwatch.Metric:
        return cloudwatch.Metric(
            namespace=namespace,
            metric_name=name,
            dimensions_map={"EndpointName": self.name, **dimensions},
            statistic=statistic,
            period=period,
        )

    def _endpoint_config(
        self, config: Config, model: sagemaker.CfnModel, storage: Storage, notifications: Notifications
    ) -> sagemaker.CfnEndpointConfig:
        props = sagemaker.CfnEndpointConfig
        pools = [
            props.InstancePoolProperty(instance_type=instance_type, priority=priority)
            for priority, instance_type in enumerate(config.instance_types, start=1)
        ]
        variant = props.ProductionVariantProperty(
            variant_name=VARIANT,
            model_name=model.attr_model_name,
            instance_type=config.instance_type if len(pools) == 1 else None,  # SageMaker accepts one or the other
            instance_pools=pools if len(pools) > 1 else None,
            initial_instance_count=1,  # SageMaker's minimum; scaling takes it to zero
            initial_variant_weight=1,
            inference_ami_version=inference_ami_version(config.instance_types),  # the default driver may be too old
            model_data_download_timeout_in_seconds=download_timeout_seconds(config.staged_bytes),
            container_startup_health_check_timeout_in_seconds=health_check_timeout_seconds(config.staged_bytes),
            variant_instance_provision_timeout_in_seconds=config.provision_timeout_seconds,
        )
        key = storage.outputs.encryption_key
        output = props.AsyncInferenceOutputConfigProperty(
            kms_key_id=key.key_arn if key else None,  # SageMaker does not promise to use the bucket's own setting
            s3_output_path=storage.outputs.s3_url_for_object(RESULT_PREFIX),
            s3_failure_path=storage.outputs.s3_url_for_object(FAILURE_PREFIX),
            notification_config=props.AsyncInferenceNotificationConfigProperty(
                success_topic=notifications.success.topic_arn, error_topic=notifications.error.topic_arn
            ),
        )
        # No KMS key for the disks: g5 and g6 store data on NVMe disks, which are encrypted in hardware, and reject one.
        return props(
            self,
            "Config",
            production_variants=[variant],
            async_inference_config=props.AsyncInferenceConfigProperty(
                client_config=props.AsyncInferenceClientConfigProperty(
                    max_concurrent_invocations_per_instance=config.concurrent_requests
                ),
                output_config=output,
            ),
        )


def container_environment(config: Config, *, input_bucket: str, output_bucket: str) -> dict[str, str]:
    """Return the container's environment variables, as in docs/contracts.md."""
    return {
        "AWS_DEFAULT_REGION": config.region,  # botocore ignores AWS_REGION, and SageMaker documents neither
        "MUSICGEN_DEVICE": config.device,
        "MUSICGEN_IMAGE": image_uri(config.region, config.device),
        "MUSICGEN_ENDPOINT": config.endpoint,
        "MUSICGEN_INPUT_BUCKET": input_bucket,
        "MUSICGEN_OUTPUT_BUCKET": output_bucket,
        "MUSICGEN_EXTERNAL_BUCKETS": ",".join(config.external_buckets),
        "MUSICGEN_DECODER_DTYPE": config.decoder_dtype,
        "MUSICGEN_WEIGHT_QUANTISATION": config.weight_quantisation,
        "MUSICGEN_MAX_CONCURRENT_REQUESTS": str(config.concurrent_requests),
        "MMS_DEFAULT_SERVICE_HANDLER": "musicgen_serving.service:handle",
        "MMS_INFERENCE_ADDRESS": "http://127.0.0.1:8081",
        "MMS_MANAGEMENT_ADDRESS": "http://127.0.0.1:8082",
        "SAGEMAKER_MODEL_SERVER_WORKERS": "1",
        "SAGEMAKER_MODEL_SERVER_TIMEOUT_SECONDS": "3600",
        "SAGEMAKER_MAX_PAYLOAD_IN_MB": "100",
    }


def download_timeout_seconds(staged_bytes: int) -> int:
    """Return ModelDataDownloadTimeoutInSeconds: 300 s plus the staged bytes at 25 MB/s, within SageMaker's limits."""
    return _timeout(staged_bytes, _DOWNLOAD_BYTES_PER_SECOND)


def health_check_timeout_seconds(staged_bytes: int) -> int:
    """Return ContainerStartupHealthCheckTimeoutInSeconds: the same at 50 MB/s, but at least 900 s."""
    return max(_timeout(staged_bytes, _LOAD_BYTES_PER_SECOND), _MIN_HEALTH_CHECK_SECONDS)


def _timeout(staged_bytes: int, bytes_per_second: int) -> int:
    low, high = _TIMEOUT_LIMITS
    return round(min(max(_BASE_SECONDS + staged_bytes / bytes_per_second, low), high))
