"""The SageMaker asynchronous endpoint: model, endpoint configuration, endpoint and its log group."""

from aws_cdk import RemovalPolicy, Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_logs as logs
from aws_cdk import aws_sagemaker as sagemaker
from constructs import Construct

from infra import sizing
from infra.acknowledge import acknowledge
from infra.config import Config
from infra.execution_role import ExecutionRole
from infra.images import image_uri
from infra.logs import retention
from infra.network import vpc_config
from infra.notifications import Notifications
from infra.staged_model import StagedModel
from infra.storage import FAILURE_PREFIX, RESULT_PREFIX, Storage

VARIANT = "AllTraffic"


class AsyncEndpoint(Construct):
    """One variant, one model. Model and configuration cannot change, so they are unnamed and get replaced; the
    endpoint keeps its name, and with it its queue, its alarms and its log group."""

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
        model = self._model(config, staged_model, storage)
        settings = self._endpoint_config(config, model, storage, notifications)
        self.endpoint = sagemaker.CfnEndpoint(
            self,
            "Endpoint",
            endpoint_name=self.name,
            endpoint_config_name=settings.attr_endpoint_config_name,
            retain_all_variant_properties=False,  # a new model comes up on one instance and proves itself
        )
        log_group = logs.LogGroup(
            self,
            "Logs",
            log_group_name=f"/aws/sagemaker/Endpoints/{self.name}",
            retention=retention(config),
            removal_policy=RemovalPolicy.DESTROY,
        )
        # On destroy the endpoint goes before its rights, its log group and its buckets: nothing is written behind them.
        self.endpoint.node.add_dependency(self.role, log_group, storage)
        reason = "CDK's table of types per region lacks some that have SageMaker; infra/image_registries.json decides"
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

    def _model(self, config: Config, staged_model: StagedModel, storage: Storage) -> sagemaker.CfnModel:
        model = sagemaker.CfnModel(
            self,
            "Model",
            execution_role_arn=self.role.role_arn,
            primary_container=staged_model.container_definition(
                image=image_uri(config.region),
                environment=container_environment(config, output_bucket=storage.outputs.bucket_name),
            ),
            vpc_config=vpc_config(config),
        )
        model.node.add_dependency(self.role)
        return model

    def _endpoint_config(
        self, config: Config, model: sagemaker.CfnModel, storage: Storage, notifications: Notifications
    ) -> sagemaker.CfnEndpointConfig:
        kind = sagemaker.CfnEndpointConfig
        key = storage.outputs.encryption_key
        # No KMS key for the disks: g5 and g6 keep data on NVMe disks, which their hardware encrypts, and refuse one.
        return kind(
            self,
            "Config",
            production_variants=[_variant(config, model)],
            async_inference_config=kind.AsyncInferenceConfigProperty(
                client_config=kind.AsyncInferenceClientConfigProperty(
                    max_concurrent_invocations_per_instance=config.max_concurrent_requests
                ),
                output_config=kind.AsyncInferenceOutputConfigProperty(
                    # Said, for SageMaker does not promise to leave the choice to the bucket's own settings.
                    kms_key_id=key.key_arn if key else None,
                    s3_output_path=storage.outputs.s3_url_for_object(RESULT_PREFIX),
                    s3_failure_path=storage.outputs.s3_url_for_object(FAILURE_PREFIX),
                    notification_config=kind.AsyncInferenceNotificationConfigProperty(
                        success_topic=notifications.success.topic_arn, error_topic=notifications.error.topic_arn
                    ),
                ),
            ),
        )


def container_environment(config: Config, *, output_bucket: str) -> dict[str, str]:
    """The container's variables, as in docs/contracts.md."""
    return {
        "MUSICGEN_OUTPUT_BUCKET": output_bucket,
        "MUSICGEN_EXTERNAL_BUCKETS": ",".join(config.external_buckets),
        "MUSICGEN_DECODER_DTYPE": config.decoder_dtype,
        "MUSICGEN_WEIGHT_QUANTISATION": config.weight_quantisation,
        "MUSICGEN_MAX_CONCURRENT_REQUESTS": str(config.max_concurrent_requests),
        "MMS_DEFAULT_SERVICE_HANDLER": "musicgen_serving.service:handle",
        "MMS_INFERENCE_ADDRESS": "http://127.0.0.1:8081",
        "MMS_MANAGEMENT_ADDRESS": "http://127.0.0.1:8082",
        "SAGEMAKER_MODEL_SERVER_WORKERS": "1",
        "SAGEMAKER_MODEL_SERVER_TIMEOUT_SECONDS": "3600",
        "SAGEMAKER_MAX_PAYLOAD_IN_MB": "100",
    }


def _variant(config: Config, model: sagemaker.CfnModel) -> sagemaker.CfnEndpointConfig.ProductionVariantProperty:
    kind = sagemaker.CfnEndpointConfig
    pools = [
        kind.InstancePoolProperty(instance_type=instance_type, priority=priority)
        for priority, instance_type in enumerate(config.instance_types, start=1)
    ]
    return kind.ProductionVariantProperty(
        variant_name=VARIANT,
        model_name=model.attr_model_name,
        instance_type=config.instance_type if len(pools) == 1 else None,  # SageMaker takes the one or the other
        instance_pools=pools if len(pools) > 1 else None,
        initial_instance_count=1,  # SageMaker's least; scaling takes it to zero
        initial_variant_weight=1,
        model_data_download_timeout_in_seconds=sizing.download_timeout_seconds(config.staged_bytes),
        container_startup_health_check_timeout_in_seconds=sizing.health_check_timeout_seconds(config.staged_bytes),
        variant_instance_provision_timeout_in_seconds=config.provision_timeout_seconds,
    )
