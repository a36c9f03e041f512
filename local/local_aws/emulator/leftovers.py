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
# Kind, service, list operation, result key, name key of an item (None: the item is its own name).
_LISTS: tuple[tuple[str, str, str, str, str | None], ...] = (
    ("stack", "cloudformation", "describe_stacks", "Stacks", "StackName"),
    ("log group", "logs", "describe_log_groups", "logGroups", "logGroupName"),
    ("topic", "sns", "list_topics", "Topics", "TopicArn"),
    ("subscription", "sns", "list_subscriptions", "Subscriptions", "SubscriptionArn"),
    ("queue", "sqs", "list_queues", "QueueUrls", None),
    ("role", "iam", "list_roles", "Roles", "RoleName"),
    ("alarm", "cloudwatch", "describe_alarms", "MetricAlarms", "AlarmName"),
    ("dashboard", "cloudwatch", "list_dashboards", "DashboardEntries", "DashboardName"),
    ("function", "lambda", "list_functions", "Functions", "FunctionName"),
    ("event source mapping", "lambda", "list_event_source_mappings", "EventSourceMappings", "UUID"),
    ("endpoint", "sagemaker", "list_endpoints", "Endpoints", "EndpointName"),
    ("endpoint configuration", "sagemaker", "list_endpoint_configs", "EndpointConfigs", "EndpointConfigName"),
    ("model", "sagemaker", "list_models", "Models", "ModelName"),
    ("parameter", "ssm", "describe_parameters", "Parameters", "Name"),
    ("secret", "secretsmanager", "list_secrets", "SecretList", "Name"),
    ("repository", "ecr", "describe_repositories", "repositories", "repositoryName"),
)


def find_leftovers(aws: LocalAws) -> list[str]:
    """Return everything that exists, as sorted `kind: name`, except the CDK bootstrap stack and its resources."""
    expected = _bootstrap_names(aws)
    found = [*_listed(aws), *_buckets(aws, expected), *_policies(aws)]
    return sorted(f"{kind}: {name}" for kind, name in found if name not in expected)


def _bootstrap_names(aws: LocalAws) -> set[str]:
    cloudformation = aws.client("cloudformation")
    stacks = {stack["StackName"] for stack in cloudformation.describe_stacks()["Stacks"]}
    if _BOOTSTRAP_STACK not in stacks:
        return set()
    resources = cloudformation.list_stack_resources(StackName=_BOOTSTRAP_STACK)["StackResourceSummaries"]
    return {_BOOTSTRAP_STACK, *(resource["PhysicalResourceId"] for resource in resources)}


def _listed(aws: LocalAws) -> Iterator[tuple[str, str]]:
    for kind, service, operation, member, name in _LISTS:
        for item in _pages(aws.client(service), operation, member):
            yield kind, item if name is None else item[name]


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


def _policies(aws: LocalAws) -> Iterator[tuple[str, str]]:
    for policy in _pages(aws.client("iam"), "list_policies", "Policies", Scope="Local"):
        yield "policy", policy["Arn"]
    scaling = aws.client("application-autoscaling")
    for target in _pages(scaling, "describe_scalable_targets", "ScalableTargets", ServiceNamespace="sagemaker"):
        yield "scalable target", target["ResourceId"]
    for policy in _pages(scaling, "describe_scaling_policies", "ScalingPolicies", ServiceNamespace="sagemaker"):
        yield "scaling policy", policy["PolicyARN"]


def main() -> None:
    """Run the command line; see the module's docstring."""
    parser = argparse.ArgumentParser(prog="python -m local_aws.emulator.leftovers", description=__doc__)
    parser.add_argument("--state", type=Path, required=True, help="state folder of a running embedded AWS")
    found = find_leftovers(LocalAws.running(parser.parse_args().state))
    print("\n".join(found) or "nothing left")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
