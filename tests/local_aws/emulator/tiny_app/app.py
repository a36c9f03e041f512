"""A small CDK app with the resource types of the real one: an auto-deleted bucket, a topic, a custom resource.

`-c name=...` changes a property that replaces the parameter, `-c broken=yes` adds a resource whose creation fails.
`-c variants='{"FOLDER": {"name": "..."}}'` also synthesises the app with other context into other folders.
"""

import json

import aws_cdk as cdk
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_sns as sns
from aws_cdk import aws_ssm as ssm
from constructs import Construct

# Leave an object in the bucket, so that destroying the stack must empty it.
SOURCE = """
import json, urllib.request, boto3

def handler(event, context):
    bucket = event["ResourceProperties"]["Bucket"]
    status, reason = "SUCCESS", ""
    try:
        boto3.client("s3").put_object(Bucket=bucket, Key="made/object", Body=b"x")
    except Exception as error:
        status, reason = "FAILED", str(error)
    answer = {key: event[key] for key in ("StackId", "RequestId", "LogicalResourceId")}
    answer |= {"Status": status, "Reason": reason, "PhysicalResourceId": bucket + "/made"}
    body, headers = json.dumps(answer).encode(), {"Content-Type": ""}
    request = urllib.request.Request(event["ResponseURL"], data=body, headers=headers, method="PUT")
    urllib.request.urlopen(request).read()
"""


class TinyStack(cdk.Stack):
    """The only stack of the app."""

    def __init__(self, scope: Construct, name: str):
        super().__init__(scope, name)
        bucket = s3.Bucket(
            self, "Bucket", enforce_ssl=True, auto_delete_objects=True, removal_policy=cdk.RemovalPolicy.DESTROY
        )
        topic = sns.Topic(self, "Topic", enforce_ssl=True)
        sns.CfnSubscription(self, "Mail", topic_arn=topic.topic_arn, protocol="email", endpoint="someone@example.com")
        made = self._made(bucket)
        ssm.StringParameter(
            self,
            "Parameter",
            parameter_name=f"/tiny/{self.node.try_get_context('name') or 'first'}",
            string_value=topic.topic_arn,
        )
        if self.node.try_get_context("broken"):
            broken = cdk.CfnResource(self, "Broken", type="AWS::S3::Bucket", properties={"BucketName": "NOT VALID"})
            broken.node.add_dependency(made)
        cdk.CfnOutput(self, "BucketName", value=bucket.bucket_name)

    def _made(self, bucket: s3.Bucket) -> cdk.CustomResource:
        function = lambda_.Function(
            self,
            "Function",
            code=lambda_.Code.from_inline(SOURCE),
            handler="index.handler",
            runtime=lambda_.Runtime.PYTHON_3_13,
            log_group=logs.LogGroup(self, "Logs", removal_policy=cdk.RemovalPolicy.DESTROY),
        )
        function.add_to_role_policy(
            iam.PolicyStatement(actions=["s3:PutObject"], resources=[bucket.arn_for_objects("made/*")])
        )
        made = cdk.CustomResource(
            self, "Made", service_token=function.function_arn, properties={"Bucket": bucket.bucket_name}
        )
        made.node.add_dependency(function)
        return made


app = cdk.App()
TinyStack(app, "Tiny")
app.synth()
for folder, context in json.loads(app.node.try_get_context("variants") or "{}").items():
    variant = cdk.App(outdir=folder, context=context)
    TinyStack(variant, "Tiny")
    variant.synth()
