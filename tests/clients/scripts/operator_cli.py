"""An operator's commands with version 1 of the AWS CLI; run by its own environment's Python. Prints one JSON object."""

import json
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path

ENDPOINT, BUCKET, ALARM, FOLDER, AWS_URL = sys.argv[1:6]
CLI = [sys.executable, "-m", "awscli"]
shown = {}


def aws(*words):
    """Run `aws`; return its parsed output (text if it is not JSON), or its error's last line."""
    done = subprocess.run([*CLI, *words], capture_output=True, text=True, timeout=120, check=False)
    if done.returncode:
        return {"error": done.stderr.strip().splitlines()[-1]}
    try:
        return json.loads(done.stdout)
    except ValueError:
        return done.stdout.strip()


def record(name, *words):
    shown[name] = aws(*words)
    return shown[name]


now = datetime.now(timezone.utc)  # noqa: UP017 (the CLI's environment may have Python 3.10)
hour = ["--start-time", (now - timedelta(hours=1)).isoformat(), "--end-time", now.isoformat()]
metric = ["--namespace", "AWS/SageMaker", "--metric-name", "ApproximateBacklogSize"]
of_endpoint = ["--dimensions", f"Name=EndpointName,Value={ENDPOINT}"]
listed = "StackSummaries[].[StackName,StackStatus]"
template = json.dumps({"Resources": {"Topic": {"Type": "AWS::SNS::Topic", "Properties": {"TopicName": "of-stack"}}}})
aws("cloudformation", "create-stack", "--stack-name", "operators", "--template-body", template)
aws("cloudformation", "wait", "stack-create-complete", "--stack-name", "operators")

shown["version"] = subprocess.run([*CLI, "--version"], capture_output=True, text=True, check=True).stdout.split()[0]
record("identity", "sts", "get-caller-identity")
record("stacks", "cloudformation", "list-stacks", "--query", listed)
record("stack", "cloudformation", "describe-stacks", "--stack-name", "operators")
record("events", "cloudformation", "describe-stack-events", "--stack-name", "operators")
scaling = ["--service-namespace", "sagemaker"]
record("activities", "application-autoscaling", "describe-scaling-activities", *scaling)
record("targets", "application-autoscaling", "describe-scalable-targets", *scaling)
record("policies", "application-autoscaling", "describe-scaling-policies", *scaling)
record("alarms", "cloudwatch", "describe-alarms", "--alarm-names", ALARM)
record("history", "cloudwatch", "describe-alarm-history", "--alarm-name", ALARM)
statistics = ["--statistics", "SampleCount", "Maximum", "--period", "60"]
record("statistics", "cloudwatch", "get-metric-statistics", *metric, *of_endpoint, *hour, *statistics)
record("metrics", "cloudwatch", "list-metrics", *metric)
group = f"/aws/sagemaker/Endpoints/{ENDPOINT}"
record("groups", "logs", "describe-log-groups", "--log-group-name-prefix", group)
record("log", "logs", "filter-log-events", "--log-group-name", group, "--max-items", "3")
record("topics", "sns", "list-topics")
topic = next(item["TopicArn"] for item in shown["topics"]["Topics"] if item["TopicArn"].endswith(":of-stack"))
mail = ["--protocol", "email", "--notification-endpoint", "a@example.com"]
record("mail", "sns", "subscribe", "--topic-arn", topic, *mail)
record("mails", "sns", "list-subscriptions-by-topic", "--topic-arn", topic)
record("published", "sns", "publish", "--topic-arn", topic, "--message", "hello")
record("queue_without_hint", "--cli-connect-timeout", "5", "sqs", "list-queues")
record("queue", "sqs", "create-queue", "--queue-name", "operators", "--endpoint-url", AWS_URL)
record("queues", "sqs", "list-queues", "--endpoint-url", AWS_URL)
record("endpoints", "sagemaker", "list-endpoints")
record("endpoint", "sagemaker", "describe-endpoint", "--endpoint-name", ENDPOINT)
config, model = shown["endpoint"]["EndpointConfigName"], f"{ENDPOINT}-model"
record("config", "sagemaker", "describe-endpoint-config", "--endpoint-config-name", config)
record("model", "sagemaker", "describe-model", "--model-name", model)
request = Path(FOLDER) / "request.json"
request.write_text('{"texts": ["cli"]}', encoding="utf-8")
target = f"s3://{BUCKET}/in/cli.json"
record("copied", "s3", "cp", str(request), target, "--no-progress")
record("listing", "s3", "ls", f"s3://{BUCKET}/in/")
record("synced", "s3", "sync", FOLDER, f"s3://{BUCKET}/in/sync", "--no-progress")
record("synced_again", "s3", "sync", FOLDER, f"s3://{BUCKET}/in/sync", "--no-progress")
record("url", "s3", "presign", target)
record("removed", "s3", "rm", "--recursive", f"s3://{BUCKET}/in/sync")
invoke = ["sagemaker-runtime", "invoke-endpoint-async", "--endpoint-name", ENDPOINT, "--input-location", target]
record("invoked", *invoke, "--content-type", "application/json")
record("training", "sagemaker", "list-training-jobs")
record("no_function", "lambda", "invoke", "--function-name", "absent", str(Path(FOLDER) / "answer"))
aws("cloudformation", "delete-stack", "--stack-name", "operators")
print(json.dumps(shown))
