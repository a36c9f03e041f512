"""List what is left in the embedded AWS: `cdk destroy` must leave only CDK's bootstrap stack and what users created.

What a stack created is known from its events, which CloudFormation keeps after the stack is deleted, and from the names
that AWS derives from a resource's: the log groups of a function and of an endpoint, the objects of a bucket.

`python -m local_aws.emulator.leftovers --state DIR` prints what a running one contains; exit code 1 if stacks left any.
"""

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from local_aws.emulator.process import LocalAws

_BOOTSTRAP_STACK = "CDKToolkit"
_DERIVED_LOG_GROUPS = ("/aws/lambda/", "/aws/sagemaker/Endpoints/")
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
    ("identity provider", "iam", "list_open_id_connect_providers", {}, "OpenIDConnectProviderList", "Arn"),
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


@dataclass(frozen=True)
class Leftovers:
    """What exists, as sorted `kind: name`: what stacks created, and everything else, which users created."""

    of_stacks: list[str] = field(default_factory=list[str])
    of_users: list[str] = field(default_factory=list[str])


def find_leftovers(aws: LocalAws, stack_name: str | None = None) -> Leftovers:
    """Return everything that exists, except the CDK bootstrap stack and its resources.

    With `stack_name`, only what stacks of that name created is a stack's; others are a user's.
    """
    cloudformation, expected, created = aws.client("cloudformation"), set[str](), set[str]()
    for stack in _pages(cloudformation, "list_stacks", "StackSummaries"):
        name = stack["StackId"].split("/")[1]
        if name == _BOOTSTRAP_STACK:
            expected |= _created_by(cloudformation, stack["StackId"]) | {name}
        elif stack_name in (None, name):
            created |= _created_by(cloudformation, stack["StackId"]) | {name}
    found = [
        (kind, item if name is None else item[name])
        for kind, service, operation, arguments, member, name in _LISTS
        for item in _pages(aws.client(service), operation, member, **arguments)
    ]
    found += _buckets(aws, expected)
    left = sorted(item for item in found if item[1] not in expected)
    return Leftovers(
        of_stacks=[f"{kind}: {name}" for kind, name in left if name in created or _owner(kind, name) in created],
        of_users=[
            f"{kind}: {name}" for kind, name in left if name not in created and _owner(kind, name) not in created
        ],
    )


def _created_by(cloudformation: Any, stack_id: str) -> set[str]:
    """Return the physical ids of all resources that a stack has ever had, as the services list them."""
    events = _pages(cloudformation, "describe_stack_events", "StackEvents", StackName=stack_id)
    ids = {event["PhysicalResourceId"] for event in events if event.get("PhysicalResourceId")}
    # A scalable target is `<resource>|<dimension>|<namespace>`; SageMaker's ids are ARNs, and it lists names.
    names = {name.partition("|")[0] for name in ids}
    return ids | names | {name.rpartition("/")[2] for name in names if name.startswith("arn:aws:sagemaker:")}


def _owner(kind: str, name: str) -> str | None:
    """Return the name of the resource to which a thing belongs that has no resource of its own in a template."""
    if kind in ("object", "unfinished upload"):
        return name.removeprefix("s3://").partition("/")[0]
    if kind == "log group" and name.startswith(_DERIVED_LOG_GROUPS):
        return name.rpartition("/")[2]
    if kind == "scalable target":
        return name.removeprefix("endpoint/").partition("/")[0]
    return None


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
    lines = [f"left by a stack: {name}" for name in found.of_stacks]
    lines += [f"created by you: {name}" for name in found.of_users]
    print("\n".join(lines) or "nothing left")
    sys.exit(1 if found.of_stacks else 0)


if __name__ == "__main__":
    main()
