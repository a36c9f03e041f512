"""List what is left in the embedded AWS: `cdk destroy` must leave only CDK's own bootstrap stack.

`python -m local_aws.emulator.leftovers --state DIR` prints the leftovers of a running one and exits 1 if there are any.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from local_aws.emulator.process import LocalAws

_BOOTSTRAP_STACK = "CDKToolkit"
_SCALING, _SAGEMAKER = "application-autoscaling", {"ServiceNamespace": "sagemaker"}
# Kind, service, list operation and its arguments, result key, name key of an item (None: the item is its own name).
_LISTS: tuple[tuple[str, str, str, dict[str, str], str, str | None], ...] = (
    ("stack", "cloudformation", "describe_stacks", {}, "Stacks", "StackName"),
    ("log group", "logs", "describe_log_groups", {}, "logGroups", "logGroupName"),
    ("topic", "sns", "list_topics", {}, "Topics", "TopicArn"),
    ("subscription", "sns", "list_subscriptions", {}, "Subscriptions", "SubscriptionArn"),
    ("queue", "sqs", "list_queues", {}, "QueueUrls", None),
    ("role", "iam", "list_roles", {}, "Roles", "RoleName"),
    ("policy", "iam", "list_policies", {"Scope": "Local"}, "Policies", "Arn"),
    ("alarm", "cloudwatch", "describe_alarms", {}, "MetricAlarms", "AlarmName"),
    ("dashboard", "cloudwatch", "list_dashboards", {}, "DashboardEntries", "DashboardName"),
    ("function", "lambda", "list_functions", {}, "Functions", "FunctionName"),
    ("event source mapping", "lambda", "list_event_source_mappings", {}, "EventSourceMappings", "UUID"),
    ("endpoint", "sagemaker", "list_endpoints", {}, "Endpoints", "EndpointName"),
    ("endpoint configuration", "sagemaker", "list_endpoint_configs", {}, "EndpointConfigs", "EndpointConfigName"),
    ("model", "sagemaker", "list_models", {}, "Models", "ModelName"),
    ("scalable target", _SCALING, "describe_scalable_targets", _SAGEMAKER, "ScalableTargets", "ResourceId"),
    ("scaling policy", _SCALING, "describe_scaling_policies", _SAGEMAKER, "ScalingPolicies", "PolicyARN"),
    ("parameter", "ssm", "describe_parameters", {}, "Parameters", "Name"),
    ("secret", "secretsmanager", "list_secrets", {}, "SecretList", "Name"),
    ("repository", "ecr", "describe_repositories", {}, "repositories", "repositoryName"),
)


def find_leftovers(aws: LocalAws) -> list[str]:
    """Return everything that exists, as sorted `kind: name`, except the CDK bootstrap stack and its resources."""
    cloudformation, expected = aws.client("cloudformation"), set[str]()
    if any(stack["StackName"] == _BOOTSTRAP_STACK for stack in cloudformation.describe_stacks()["Stacks"]):
        resources = cloudformation.list_stack_resources(StackName=_BOOTSTRAP_STACK)["StackResourceSummaries"]
        expected = {_BOOTSTRAP_STACK, *(resource["PhysicalResourceId"] for resource in resources)}
    found = [
        (kind, item if name is None else item[name])
        for kind, service, operation, arguments, member, name in _LISTS
        for item in _pages(aws.client(service), operation, member, **arguments)
    ]
    found += _buckets(aws, expected)
    return sorted(f"{kind}: {name}" for kind, name in found if name not in expected)


def _pages(client: Any, operation: str, member: str, **arguments: Any) -> Iterator[Any]:
    if client.can_paginate(operation):
        for page in client.get_paginator(operation).paginate(**arguments):
            yield from page.get(member, [])
    else:
        yield from getattr(client, operation)(**arguments).get(member, [])


def _buckets(aws: LocalAws, expected: set[str]) -> Iterator[tuple[str, str]]:
    s3 = aws.client("s3")
    for bucket in s3.list_buckets()["Buckets"]:
        name = bucket["Name"]
        yield "bucket", name
        if name in expected:
            continue  # CDK never deletes assets from its bootstrap bucket
        for version in _pages(s3, "list_object_versions", "Versions", Bucket=name):
            yield "object", f"s3://{name}/{version['Key']}"
        for upload in _pages(s3, "list_multipart_uploads", "Uploads", Bucket=name):
            yield "unfinished upload", f"s3://{name}/{upload['Key']}"


def main() -> None:
    """Run the command line; see the module's docstring."""
    parser = argparse.ArgumentParser(prog="python -m local_aws.emulator.leftovers", description=__doc__)
    parser.add_argument("--state", type=Path, required=True, help="state folder of a running embedded AWS")
    found = find_leftovers(LocalAws.running(parser.parse_args().state))
    print("\n".join(found) or "nothing left")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
