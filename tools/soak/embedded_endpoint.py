"""An embedded AWS with a small stack: an endpoint that serves the bundle, its bucket, and the outputs for a client.

Unlike `make local` it stages nothing and scales nothing: the model is uploaded as it is and one instance stays up.
"""

import io
import json
import tarfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from local_aws.emulator.process import LocalAws
from soak.mms_instance import CODE

STACK = "Soak"
ENDPOINT = "soak"
CONCURRENCY = 4
_START_SECONDS = 240.0
_BUCKET = "soak-bucket"
_ENVIRONMENT = {  # as infra/constructs/async_endpoint.py sets it, where this machine does not decide
    "AWS_DEFAULT_REGION": LocalAws.region,
    "MUSICGEN_OUTPUT_BUCKET": _BUCKET,
    "MUSICGEN_MAX_CONCURRENT_REQUESTS": str(CONCURRENCY),
    "MMS_DEFAULT_SERVICE_HANDLER": "musicgen_serving.service:handle",
    "MMS_INFERENCE_ADDRESS": "http://127.0.0.1:8081",
    "MMS_MANAGEMENT_ADDRESS": "http://127.0.0.1:8082",
    "SAGEMAKER_MODEL_SERVER_WORKERS": "1",
    "SAGEMAKER_MODEL_SERVER_TIMEOUT_SECONDS": "3600",
}
_MODEL = "model.tar.gz"


@dataclass(frozen=True)
class EmbeddedEndpoint:
    """A running endpoint, and the log of its one instance."""

    aws: LocalAws

    def events(self, name: str) -> list[dict[str, Any]]:
        """Return the bundle's log lines with event `name`, of all its workers."""
        (log,) = (self.aws.state_dir / "endpoints" / ENDPOINT).glob("*.log")
        found: list[dict[str, Any]] = []
        for line in log.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True):
            if line.startswith("{") and line.endswith("}\n"):  # multi-model-server writes to the same file
                fields = json.loads(line)
                if fields.get("event") == name:
                    found.append(fields)
        return found

    def kill_worker(self) -> None:
        """Send SIGKILL to the worker as soon as one serves."""
        deadline = time.monotonic() + _START_SECONDS
        while len(self.events("ready")) < len(self.events("start")):
            if time.monotonic() > deadline:
                raise RuntimeError(f"no worker became ready in {_START_SECONDS:.0f} s; see {self.aws.state_dir}")
            time.sleep(0.05)
        psutil.Process(self.events("start")[-1]["pid"]).kill()

    def redeliveries(self) -> int:
        """Return how often a request was delivered again because its worker had died."""
        return self.aws.log_path.read_text(encoding="utf-8", errors="replace").count(" is delivered again: ")

    def keys(self, prefix: str) -> list[str]:
        """Return the keys of the bucket's objects below `prefix`."""
        pages = self.aws.client("s3").get_paginator("list_objects_v2").paginate(Bucket=_BUCKET, Prefix=prefix)
        return [item["Key"] for page in pages for item in page.get("Contents", [])]


@contextmanager
def embedded_endpoint(staged: Path, state: Path) -> Generator[EmbeddedEndpoint]:
    """Start an embedded AWS on the folder `state` and deploy the model unpacked at `staged`; stop it at the end."""
    with LocalAws(state) as aws:
        s3, cloudformation = aws.client("s3"), aws.client("cloudformation")
        s3.create_bucket(Bucket=_BUCKET)
        s3.put_object(Bucket=_BUCKET, Key=_MODEL, Body=_tarball(staged))
        capabilities = ["CAPABILITY_IAM"]
        cloudformation.create_stack(StackName=STACK, TemplateBody=json.dumps(_template()), Capabilities=capabilities)
        deadline = time.monotonic() + _START_SECONDS
        while (status := _stack(cloudformation)["StackStatus"]) != "CREATE_COMPLETE":
            if status != "CREATE_IN_PROGRESS" or time.monotonic() > deadline:
                events = cloudformation.describe_stack_events(StackName=STACK)["StackEvents"]
                reasons = [event["ResourceStatusReason"] for event in events if event.get("ResourceStatusReason")]
                raise RuntimeError(f"the stack is {status}: {reasons}; see {state}")
            time.sleep(0.2)
        yield EmbeddedEndpoint(aws)


def _stack(cloudformation: Any) -> dict[str, Any]:
    return cloudformation.describe_stacks(StackName=STACK)["Stacks"][0]


def _tarball(staged: Path) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=1, dereference=True) as archive:
        archive.add(staged, ".")
        archive.add(CODE, "code", filter=lambda member: None if "__pycache__" in member.name else member)
    return buffer.getvalue()


def _template() -> dict[str, Any]:
    objects = {"Effect": "Allow", "Action": ["s3:GetObject", "s3:PutObject"], "Resource": f"arn:aws:s3:::{_BUCKET}/*"}
    # Without it S3 answers 403 for a missing cancel/<id>.
    listing = {"Effect": "Allow", "Action": "s3:ListBucket", "Resource": f"arn:aws:s3:::{_BUCKET}"}
    logs = {"Effect": "Allow", "Action": "logs:*", "Resource": "*"}
    sagemaker = {"Effect": "Allow", "Principal": {"Service": "sagemaker.amazonaws.com"}, "Action": "sts:AssumeRole"}
    role = {
        "AssumeRolePolicyDocument": {"Version": "2012-10-17", "Statement": [sagemaker]},
        "Policies": [
            {
                "PolicyName": "serve",
                "PolicyDocument": {"Version": "2012-10-17", "Statement": [objects, listing, logs]},
            }
        ],
    }
    image = f"763104351884.dkr.ecr.{LocalAws.region}.amazonaws.com/huggingface-pytorch-inference:latest"
    model = {
        "ExecutionRoleArn": {"Fn::GetAtt": ["Role", "Arn"]},
        "PrimaryContainer": {
            "Image": image,
            "ModelDataUrl": f"s3://{_BUCKET}/{_MODEL}",
            "Environment": _ENVIRONMENT,
        },
    }
    variant = {
        "VariantName": "AllTraffic",
        "ModelName": {"Fn::GetAtt": ["Model", "ModelName"]},
        "InstanceType": "ml.g5.xlarge",
        "InitialInstanceCount": 1,
        "InitialVariantWeight": 1,
    }
    config = {
        "ProductionVariants": [variant],
        "AsyncInferenceConfig": {
            "ClientConfig": {"MaxConcurrentInvocationsPerInstance": CONCURRENCY},
            "OutputConfig": {
                "S3OutputPath": f"s3://{_BUCKET}/results/",
                "S3FailurePath": f"s3://{_BUCKET}/failures/",
            },
        },
    }
    endpoint = {
        "EndpointName": ENDPOINT,
        "EndpointConfigName": {"Fn::GetAtt": ["Config", "EndpointConfigName"]},
    }
    outputs = {
        "EndpointName": ENDPOINT,
        "InputBucketName": _BUCKET,
        "OutputBucketName": _BUCKET,
        "InstancePricePerHourUsd": "1.408",
    }
    return {
        "Resources": {
            "Role": {"Type": "AWS::IAM::Role", "Properties": role},
            "Model": {"Type": "AWS::SageMaker::Model", "Properties": model},
            "Config": {"Type": "AWS::SageMaker::EndpointConfig", "Properties": config},
            "Endpoint": {"Type": "AWS::SageMaker::Endpoint", "Properties": endpoint},
        },
        "Outputs": {name: {"Value": value} for name, value in outputs.items()},
    }
