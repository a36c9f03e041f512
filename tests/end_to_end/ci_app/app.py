"""A stack with the name, the output bucket and the outputs of MusicGen-dev, and a file to upload, for CI's roles."""

from pathlib import Path

import aws_cdk as cdk
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_s3_assets as assets
from constructs import Construct

app = cdk.App()
stack = cdk.Stack(app, "MusicGen-dev", env=cdk.Environment(region="us-east-1"))
asset = assets.Asset(stack, "File", path=str(Path(__file__)))
outputs = s3.Bucket(Construct(stack, "Storage"), "OutputBucket", removal_policy=cdk.RemovalPolicy.DESTROY)
others = s3.Bucket(stack, "OtherBucket", removal_policy=cdk.RemovalPolicy.DESTROY)
cdk.CfnOutput(stack, "EndpointName", value="musicgen-dev")
cdk.CfnOutput(stack, "OutputBucketName", value=outputs.bucket_name)
cdk.CfnOutput(stack, "OtherBucketName", value=others.bucket_name)
cdk.CfnOutput(stack, "FileUrl", value=asset.s3_object_url)
app.synth()
