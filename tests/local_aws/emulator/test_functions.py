"""Lambda functions: runtimes, limits, errors, logs, credentials, deployment packages."""

import base64
import io
import json
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from local_aws.emulator.lambda_functions.deployment_package import (
    DeploymentPackageError,
    extract,
    use_installed_packages,
)

CONTEXT = """
def handler(event, context):
    import boto3, os
    return {
        "event": event, "name": context.function_name, "arn": context.invoked_function_arn,
        "left": context.get_remaining_time_in_millis(), "setting": os.environ["SETTING"],
        "caller": boto3.client("sts").get_caller_identity()["Arn"], "tmp": os.environ["TMPDIR"],
    }
"""


def invoke(stack: Any, payload: object, **options: Any) -> Any:
    name = stack.physical_id("Function")
    return stack.aws.client("lambda").invoke(FunctionName=name, Payload=json.dumps(payload), **options)


def log_lines(stack: Any) -> list[str]:
    logs, group = stack.aws.client("logs"), stack.physical_id("Logs")
    streams = logs.describe_log_streams(logGroupName=group)["logStreams"]
    pages = (logs.get_log_events(logGroupName=group, logStreamName=item["logStreamName"]) for item in streams)
    return [event["message"] for page in pages for event in page["events"]]


def test_python_function_gets_its_context_environment_and_role(stack: Any, function_resources: Any) -> None:
    stack.deploy(function_resources(CONTEXT, Environment={"Variables": {"SETTING": "on"}}, Timeout=30))
    answer = json.loads(invoke(stack, {"n": 1})["Payload"].read())
    assert (answer["event"], answer["setting"], answer["name"]) == ({"n": 1}, "on", stack.physical_id("Function"))
    assert answer["arn"].endswith(f":function:{answer['name']}")
    assert 20_000 < answer["left"] <= 30_000
    assert f":assumed-role/{stack.physical_id('Role')}/" in answer["caller"]
    assert not Path(answer["tmp"]).exists()


def test_function_output_reaches_the_log_group_and_the_tail(stack: Any, function_resources: Any) -> None:
    stack.deploy(function_resources("def handler(event, context): print('said', event['word'])"))
    answer = invoke(stack, {"word": "hello"}, LogType="Tail")
    assert "said hello" in base64.b64decode(answer["LogResult"]).decode()
    assert "said hello" in log_lines(stack)


def test_function_runs_without_permission_to_log(stack: Any, function_resources: Any) -> None:
    parts = function_resources("def handler(event, context): return 'ran'")
    del parts["Role"]["Properties"]["Policies"]
    stack.deploy(parts)
    assert json.loads(invoke(stack, {})["Payload"].read()) == "ran"
    assert log_lines(stack) == []


def test_exception_is_returned_as_a_function_error(stack: Any, function_resources: Any) -> None:
    stack.deploy(function_resources("def handler(event, context): raise ValueError('no good')"))
    answer = invoke(stack, {})
    assert answer["FunctionError"] == "Unhandled"
    error = json.loads(answer["Payload"].read())
    assert (error["errorType"], error["errorMessage"]) == ("ValueError", "no good")


def test_timeout_ends_the_function_and_its_child_processes(stack: Any, function_resources: Any, tmp_path: Path) -> None:
    source = (
        "import subprocess, time\n"
        "def handler(event, context):\n"
        f"    subprocess.Popen(['sh', '-c', 'sleep 3; touch {tmp_path}/survived'])\n"
        "    time.sleep(60)\n"
    )
    stack.deploy(function_resources(source, Timeout=1))
    answer = invoke(stack, {})
    assert json.loads(answer["Payload"].read())["errorMessage"].endswith("Task timed out after 1.00 seconds")
    time.sleep(3.5)
    assert not (tmp_path / "survived").exists()


def test_exit_of_the_runtime_is_a_function_error(stack: Any, function_resources: Any) -> None:
    stack.deploy(function_resources("import os\ndef handler(event, context): os._exit(7) if event else os.abort()"))
    for event, ending in ({"exit": "yes"}, "exit status 7"), ({}, "signal: aborted"):
        answer = invoke(stack, event)
        message = json.loads(answer["Payload"].read())["errorMessage"]
        assert message.endswith(f"Error: Runtime exited with error: {ending}")


def test_event_is_retried_as_often_as_configured(stack: Any, function_resources: Any) -> None:
    retries = {"FunctionName": {"Ref": "Function"}, "Qualifier": "$LATEST", "MaximumRetryAttempts": 1}
    parts = function_resources("def handler(event, context): raise ValueError('attempt')")
    stack.deploy({**parts, "Retries": {"Type": "AWS::Lambda::EventInvokeConfig", "Properties": retries}})
    assert invoke(stack, {}, InvocationType="Event")["StatusCode"] == 202
    deadline = time.monotonic() + 20
    while log_lines(stack).count("ValueError: attempt") < 2:
        assert time.monotonic() < deadline, "the event must be tried twice"
        time.sleep(0.2)
    time.sleep(2.5)
    assert log_lines(stack).count("ValueError: attempt") == 2


def test_node_function_finds_the_aws_sdk(stack: Any, function_resources: Any) -> None:
    source = (
        "const { S3Client } = require('@aws-sdk/client-s3');\n"
        "exports.handler = async (event, context) => ({ sum: event.a + event.b, sdk: typeof S3Client, "
        "left: context.getRemainingTimeInMillis() });\n"
    )
    stack.deploy(function_resources(source, Runtime="nodejs22.x"))
    answer = json.loads(invoke(stack, {"a": 1, "b": 2})["Payload"].read())
    assert (answer["sum"], answer["sdk"]) == (3, "function")
    assert 0 < answer["left"] <= 10_000


def test_invocation_fails_if_the_role_no_longer_trusts_lambda(stack: Any, function_resources: Any) -> None:
    stack.deploy(function_resources("def handler(event, context): return 1"))
    statement = {"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    iam = stack.aws.client("iam")
    iam.update_assume_role_policy(RoleName=stack.physical_id("Role"), PolicyDocument=document)
    with pytest.raises(ClientError, match=r"AccessDeniedException.*lambda\.amazonaws\.com"):
        invoke(stack, {})


def make_distribution(folder: Path, name: str, version: str, extension: str) -> None:
    """Write a package as pip installs it, with an extension module for a machine that does not exist."""
    (folder / name).mkdir(parents=True)
    (folder / name / "__init__.py").touch()
    (folder / name / extension).write_bytes(b"\x7fELF" + bytes(14) + b"\xff\xff" + bytes(40))
    info = folder / f"{name}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    record = [f"{name}/__init__.py,,", f"{name}/{extension},,", f"{info.name}/METADATA,,", "../../bin/tool,,"]
    (info / "RECORD").write_text("\n".join(record))


def test_foreign_package_is_replaced_by_the_same_installed_version(tmp_path: Path) -> None:
    import numpy

    task = tmp_path / "task"
    (tmp_path / "bystander").mkdir()
    make_distribution(task, "numpy", numpy.__version__, "core.cpython-314-aarch64-linux-gnu.so")
    (task / "own").mkdir()
    assert use_installed_packages(task) == ["numpy"]
    assert [path.name for path in task.iterdir()] == ["own"]
    assert (tmp_path / "bystander").is_dir()


def test_foreign_package_of_another_version_is_refused(tmp_path: Path) -> None:
    make_distribution(tmp_path, "numpy", "0.0.1", "core.cpython-314-aarch64-linux-gnu.so")
    with pytest.raises(DeploymentPackageError, match=r"numpy must be installed here as 0\.0\.1.*got \d"):
        use_installed_packages(tmp_path)


def test_zip_is_unpacked_once_and_stays_in_its_folder(tmp_path: Path) -> None:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("../../escaped.py", "")
        file.writestr("index.py", "")
    task = extract(archive.getvalue(), "sha+1/=", "python3.14", tmp_path / "functions")
    (task / "mark").touch()
    assert extract(archive.getvalue(), "sha+1/=", "python3.14", tmp_path / "functions") == task
    assert (task / "mark").exists()
    assert not list(tmp_path.parent.glob("escaped.py")) and not (tmp_path / "escaped.py").exists()
