"""A new stack whose container cannot start: the reason is in the events, the log is kept, and nothing stays behind."""

import io
import json
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest

from local_aws.emulator.leftovers import Leftovers, find_leftovers
from local_aws.emulator.process import LocalAws
from local_aws.hub import LoopbackHub, Repository
from local_aws.walkthrough.cdk_cli import CdkCli
from local_aws.walkthrough.report import Report, StepFailed
from local_aws.walkthrough.toy_model import toy_model
from tests.end_to_end.helpers.walkthrough_process import PROJECT
from tests.end_to_end.rights.probed_stack import NO_CDK_VALIDATION, STACK, synthesise, tools_on_path

pytestmark = pytest.mark.timeout(900)

GROUP = "/aws/sagemaker/Endpoints/musicgen-dev"
REASON = "MUSICGEN_DECODER_DTYPE must be"
Deployment = tuple[LocalAws, CdkCli, str]


def edit(template: Path, change: Callable[[dict[str, Any]], None]) -> None:
    content = json.loads(template.read_text())
    change({resource["Type"]: resource.get("Properties", {}) for resource in content["Resources"].values()})
    template.write_text(json.dumps(content))


def prevent_the_start(properties: dict[str, Any]) -> None:
    """Set a value that the stack's settings refuse, and SageMaker's shortest time-out."""
    properties["AWS::SageMaker::Model"]["PrimaryContainer"]["Environment"]["MUSICGEN_DECODER_DTYPE"] = "float8"
    (variant,) = properties["AWS::SageMaker::EndpointConfig"]["ProductionVariants"]
    variant["ContainerStartupHealthCheckTimeoutInSeconds"] = 60


def forget_published_templates(aws: LocalAws) -> None:
    """Let the CLI publish the template again: it has the same hash, which the CLI took from the synthesis."""
    s3, bucket = aws.client("s3"), f"cdk-hnb659fds-assets-{aws.account_id}-{aws.region}"
    for item in s3.list_objects_v2(Bucket=bucket)["Contents"]:
        if item["Key"].endswith(".json"):
            s3.delete_object(Bucket=bucket, Key=item["Key"])


@pytest.fixture
def failed(tmp_path: Path) -> Generator[Deployment]:
    """The account after the failed deployment, the CLI with the sound template, and what it printed."""
    model = toy_model()
    repository = Repository.from_folder(model.folder, model_id=model.model_id, revision=model.revision)
    with tools_on_path(), LocalAws(tmp_path / "aws") as aws, LoopbackHub(repository) as hub:
        log, assembly = tmp_path / "cdk.log", tmp_path / "cdk.out"
        cdk = CdkCli(PROJECT, assembly, {**aws.environment(), **NO_CDK_VALIDATION}, log, Report(io.StringIO(), 1))
        settings = {"model_id": model.model_id, "revision": model.revision, "hub_endpoint": hub.url}
        with cdk.bootstrapping(aws.account_id, aws.region):
            synthesise(cdk, {"env": "dev", **settings})
        template = assembly / f"{STACK}.template.json"
        sound = template.read_text()
        edit(template, prevent_the_start)
        with pytest.raises(StepFailed):
            cdk.deploy()
        template.write_text(sound)
        forget_published_templates(aws)
        yield aws, cdk, log.read_text()


def test_reason_is_shown_and_kept_until_the_stack_is_deployed_again_or_destroyed(failed: Deployment) -> None:
    aws, cdk, output = failed
    cloudformation, logs = aws.client("cloudformation"), aws.client("logs")
    assert REASON in output.partition("Its last errors:")[2]
    (described,) = cloudformation.describe_stacks(StackName=STACK)["Stacks"]
    assert described["StackStatus"] == "ROLLBACK_FAILED"
    assert REASON in str(logs.filter_log_events(logGroupName=GROUP)["events"])
    kept = [name for name in find_leftovers(aws).of_stacks if not name.startswith("log group: /aws/lambda/")]
    assert {name.partition(":")[0] for name in kept} == {"function", "log group", "role", "stack"}

    cdk.deploy()
    (described,) = cloudformation.describe_stacks(StackName=STACK)["Stacks"]
    assert described["StackStatus"] == "CREATE_COMPLETE"
    assert REASON not in str(logs.filter_log_events(logGroupName=GROUP)["events"])
    cdk.destroy()
    assert find_leftovers(aws) == Leftovers()
