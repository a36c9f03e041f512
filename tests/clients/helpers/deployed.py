"""A running asynchronous endpoint with a bundle that returns its request, created as a user creates one with boto3."""

import io
import json
import tarfile
import time
from dataclasses import dataclass
from typing import Any

from local_aws.emulator.process import LocalAws

NAME = "echo"
IMAGE = "example.com/echo:1"
ENVIRONMENT = {"MMS_DEFAULT_SERVICE_HANDLER": "inference:handle", "SAGEMAKER_MODEL_SERVER_WORKERS": "1"}
_START_SECONDS = 300.0  # on busy cores; about ten on idle ones
_INFERENCE = b"""
import json


def handle(data, context):  # multi-model-server's interface; the toolkit's own handler needs transformers 4
    if data is None:
        return None  # while the model loads
    body = data[0].get("body")
    request = json.loads(body) if isinstance(body, (bytes, bytearray, str)) else body
    if "fail" in request:
        context.set_all_response_status(400, request["fail"])
        return [json.dumps({"error": request["fail"]})]
    context.set_response_content_type(0, "application/json")
    return [json.dumps({"echo": request, "generated_outputs_s3": []})]
"""
_TRUST = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Principal": {"Service": "sagemaker.amazonaws.com"}, "Action": "sts:AssumeRole"}],
}
_RIGHTS = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Action": ["s3:*", "sns:*", "logs:*"], "Resource": "*"}],
}


@dataclass(frozen=True)
class Deployed:
    """Names of what exists."""

    aws: LocalAws
    bucket: str
    role: str
    topics: tuple[str, str]  # success, error
    alarm: str = f"{NAME}-backlog"
    endpoint: str = NAME
    config: str = f"{NAME}-config"
    model: str = f"{NAME}-model"

    @property
    def model_data(self) -> str:
        return f"s3://{self.bucket}/model.tar.gz"


def deploy(aws: LocalAws) -> Deployed:
    """Create the endpoint with a scalable target, a step scaling policy and its alarm; wait until it is in service."""
    bucket = f"sagemaker-{aws.region}-{aws.account_id}"  # the SDK's default bucket
    aws.client("s3").create_bucket(Bucket=bucket)
    aws.client("s3").put_object(Bucket=bucket, Key="model.tar.gz", Body=_bundle())
    role = aws.client("iam").create_role(RoleName=f"{NAME}-role", AssumeRolePolicyDocument=json.dumps(_TRUST))
    aws.client("iam").put_role_policy(RoleName=f"{NAME}-role", PolicyName="all", PolicyDocument=json.dumps(_RIGHTS))
    topics = [aws.client("sns").create_topic(Name=f"{NAME}-{kind}")["TopicArn"] for kind in ("success", "error")]
    deployed = Deployed(aws, bucket, role["Role"]["Arn"], (topics[0], topics[1]))
    sagemaker = aws.client("sagemaker")
    container = {"Image": IMAGE, "ModelDataUrl": deployed.model_data, "Environment": ENVIRONMENT}
    sagemaker.create_model(ModelName=deployed.model, ExecutionRoleArn=deployed.role, PrimaryContainer=container)
    sagemaker.create_endpoint_config(EndpointConfigName=deployed.config, **_configuration(deployed))
    sagemaker.create_endpoint(EndpointName=NAME, EndpointConfigName=deployed.config)
    _await_in_service(sagemaker)
    _scale(aws, deployed)
    return deployed


def _configuration(deployed: Deployed) -> dict[str, Any]:
    variant = {"VariantName": "AllTraffic", "ModelName": deployed.model}
    return {
        "ProductionVariants": [variant | {"InstanceType": "ml.g5.2xlarge", "InitialInstanceCount": 1}],
        "AsyncInferenceConfig": {
            "OutputConfig": {
                "S3OutputPath": f"s3://{deployed.bucket}/out",
                "S3FailurePath": f"s3://{deployed.bucket}/failures",
                "NotificationConfig": {"SuccessTopic": deployed.topics[0], "ErrorTopic": deployed.topics[1]},
            }
        },
    }


def _await_in_service(sagemaker: Any) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while (found := sagemaker.describe_endpoint(EndpointName=NAME))["EndpointStatus"] != "InService":
        assert found["EndpointStatus"] == "Creating" and time.monotonic() < deadline, found
        time.sleep(0.3)


def _scale(aws: LocalAws, deployed: Deployed) -> None:
    scaling = aws.client("application-autoscaling")
    place = {
        "ServiceNamespace": "sagemaker",
        "ScalableDimension": "sagemaker:variant:DesiredInstanceCount",
        "ResourceId": f"endpoint/{NAME}/variant/AllTraffic",
    }
    scaling.register_scalable_target(**place, MinCapacity=1, MaxCapacity=2)
    policy = scaling.put_scaling_policy(
        **place,
        PolicyName="AddOne",
        PolicyType="StepScaling",
        StepScalingPolicyConfiguration={
            "AdjustmentType": "ChangeInCapacity",
            "Cooldown": 300,
            "StepAdjustments": [{"MetricIntervalLowerBound": 0, "ScalingAdjustment": 1}],
        },
    )
    aws.client("cloudwatch").put_metric_alarm(
        AlarmName=deployed.alarm,
        Namespace="AWS/SageMaker",
        MetricName="ApproximateBacklogSize",
        Dimensions=[{"Name": "EndpointName", "Value": NAME}],
        Statistic="Maximum",
        Period=60,
        EvaluationPeriods=1,
        Threshold=0,  # at once and for good, so that there is an activity and a history
        ComparisonOperator="GreaterThanOrEqualToThreshold",
        AlarmActions=[policy["PolicyARN"], deployed.topics[1]],
    )


def _bundle() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        member = tarfile.TarInfo("code/inference.py")
        member.size = len(_INFERENCE)
        archive.addfile(member, io.BytesIO(_INFERENCE))
    return buffer.getvalue()
