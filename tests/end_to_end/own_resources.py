"""Creates what a user of a kept stack may create, through the environment file: a bucket, a queue and a role."""

# pyright: reportUnknownMemberType=false
# boto3's stubs cover only some services.

import json

import boto3

boto3.client("s3").create_bucket(Bucket="sagemaker-us-east-1-123456789012")  # as SageMaker's Python SDK does
boto3.client("sqs").create_queue(QueueName="my-results")
boto3.client("iam").create_role(RoleName="my-role", AssumeRolePolicyDocument=json.dumps({"Statement": []}))
