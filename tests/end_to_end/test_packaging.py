"""A deployed model that is packaged in another way: the endpoint goes over to it, and nothing of the former is left."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from probed_stack import STACK, tools_on_path
from walkthrough_process import PROJECT

from local_aws.hub import LoopbackHub
from local_aws.process import LocalAws
from local_aws.residue import residue
from local_aws.walkthrough.cdk_cli import CdkCli
from local_aws.walkthrough.client import StackOutputs
from local_aws.walkthrough.report import Report
from local_aws.walkthrough.stand_in import make_stand_in

pytestmark = pytest.mark.timeout(900)


def served(aws: LocalAws) -> dict[str, Any]:
    """Where the endpoint's one model comes from, as SageMaker describes it."""
    sagemaker = aws.client("sagemaker")
    (model,) = sagemaker.list_models()["Models"]
    described = sagemaker.describe_model(ModelName=model["ModelName"])["PrimaryContainer"]
    return {name: value for name, value in described.items() if name.startswith("ModelData")}


def staged(aws: LocalAws) -> set[str]:
    """The artifact bucket's objects, less the records of runs: `s3://…`, of files their folder."""
    bucket = StackOutputs.read(aws, STACK)["ArtifactBucketName"]
    keys = [item["Key"] for item in aws.client("s3").list_objects_v2(Bucket=bucket)["Contents"]]
    models = [key for key in keys if "/runs/" not in key]
    return {f"s3://{bucket}/{key.partition('/model/')[0]}{'/model/' * ('/model/' in key)}" for key in models}


def test_packaging_is_changed_in_place_and_destroyed_without_a_trace(tmp_path: Path) -> None:
    stand_in = make_stand_in(tmp_path / "stand-in")
    loopback = LoopbackHub(stand_in.folder, model_id=stand_in.model_id, revision=stand_in.revision)
    with tools_on_path(), LocalAws(tmp_path / "aws") as aws, loopback as hub:
        log, report = tmp_path / "cdk.log", Report(io.StringIO(), 3)

        def deploy(packaging: str) -> tuple[CdkCli, str]:
            cdk = CdkCli(PROJECT, tmp_path / packaging, aws.environment(), log, report)
            context = {"env": "dev", "model_id": stand_in.model_id, "revision": stand_in.revision}
            cdk.synth({**context, "hub_endpoint": hub.url, "packaging": packaging})
            cdk.bootstrap(aws.account_id, aws.region)
            cdk.deploy()
            return cdk, StackOutputs.read(aws, STACK)["ModelDataUrl"]

        _, files = deploy("uncompressed")
        source = {"S3Uri": files, "S3DataType": "S3Prefix", "CompressionType": "None"}
        assert served(aws)["ModelDataSource"]["S3DataSource"] == source
        assert staged(aws) == {files}
        cdk, tarball = deploy("tarball")
        assert served(aws) == {"ModelDataUrl": tarball}
        assert staged(aws) == {tarball}
        cdk.destroy()
        assert residue(aws) == []
