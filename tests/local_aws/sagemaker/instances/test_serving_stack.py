"""End to end: the embedded AWS over TLS with IAM, the real serving stack and bundle, a tiny model."""

import contextlib
import io
import json
import tarfile
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import soundfile

from local_aws.emulator.process import LocalAws
from local_aws.walkthrough.client import let_sns_send
from musicgen_client.clip import read_clip

BUNDLE = Path(__file__).parents[4] / "model_bundle" / "code"
NAME = "real"
ONE_SECOND = {"texts": ["a tune"], "generation_params": {"max_new_tokens": 53, "seed": 1}}
# As the stack sets it on the model; the addresses are a container's, and must be moved on this machine.
ENVIRONMENT = {
    "AWS_DEFAULT_REGION": "us-east-1",
    "MUSICGEN_DEVICE": "cuda",
    "MUSICGEN_OUTPUT_BUCKET": "outputs",
    "MUSICGEN_EXTERNAL_BUCKETS": "",
    "MUSICGEN_DECODER_DTYPE": "float16",
    "MUSICGEN_MAX_CONCURRENT_REQUESTS": "2",
    "MMS_DEFAULT_SERVICE_HANDLER": "musicgen_serving.service:handle",
    "SAGEMAKER_MODEL_SERVER_WORKERS": "1",
    "SAGEMAKER_MODEL_SERVER_TIMEOUT_ONE_SECONDS": "3600",
    "SAGEMAKER_MAX_PAYLOAD_IN_MB": "100",
    "MMS_INFERENCE_ADDRESS": "http://127.0.0.1:8081",
    "MMS_MANAGEMENT_ADDRESS": "http://127.0.0.1:8082",
}


def allow(*actions: str, resource: str) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": list(actions), "Resource": resource}


class RealEndpoint:
    """An endpoint on one real instance; its role has only the permissions of the contract."""

    def __init__(self, aws: LocalAws, tarball: bytes) -> None:
        self.aws = aws
        self.s3, self.sagemaker = aws.client("s3"), aws.client("sagemaker")
        for bucket in ("artifacts", "outputs"):
            self.s3.create_bucket(Bucket=bucket)
        self.s3.put_object(Bucket="artifacts", Key="models/m/model.tar.gz", Body=tarball)
        self.group = f"/aws/sagemaker/Endpoints/{NAME}"
        aws.client("logs").create_log_group(logGroupName=self.group)
        self.topic = aws.client("sns").create_topic(Name="errors")["TopicArn"]
        self._create_model(self._create_role())

    def _create_role(self) -> str:
        trust = {"Effect": "Allow", "Principal": {"Service": "sagemaker.amazonaws.com"}, "Action": "sts:AssumeRole"}
        iam = self.aws.client("iam")
        role = iam.create_role(
            RoleName="execution", AssumeRolePolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [trust]})
        )["Role"]["Arn"]
        statements = [
            allow("s3:GetObject", resource="arn:aws:s3:::artifacts/models/*"),
            allow("s3:PutObject", resource="arn:aws:s3:::outputs/out/*"),
            allow("s3:PutObject", resource="arn:aws:s3:::outputs/failures/*"),
            allow("s3:PutObject", resource="arn:aws:s3:::outputs/audio/*"),
            allow("s3:GetObject", resource="arn:aws:s3:::outputs/cancel/*"),
            allow("logs:CreateLogStream", "logs:PutLogEvents", resource=f"arn:aws:logs:*:*:log-group:{self.group}*"),
        ]
        document = json.dumps({"Version": "2012-10-17", "Statement": statements})
        iam.put_role_policy(RoleName="execution", PolicyName="contract", PolicyDocument=document)
        self.allow_publishing()
        return role

    def allow_publishing(self) -> None:
        statement = allow("sns:Publish", resource=self.topic)
        document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        self.aws.client("iam").put_role_policy(RoleName="execution", PolicyName="notify", PolicyDocument=document)

    def _create_model(self, role: str) -> None:
        container = {
            "Image": "image",
            "ModelDataUrl": "s3://artifacts/models/m/model.tar.gz",
            "Environment": ENVIRONMENT,
        }
        self.sagemaker.create_model(ModelName="model", ExecutionRoleArn=role, PrimaryContainer=container)
        variant = {"VariantName": "AllTraffic", "ModelName": "model", "InstanceType": "ml.g5.2xlarge"}
        output = {
            "S3OutputPath": "s3://outputs/out/",
            "S3FailurePath": "s3://outputs/failures/",
            "NotificationConfig": {"SuccessTopic": self.topic, "ErrorTopic": self.topic},
        }
        self.sagemaker.create_endpoint_config(
            EndpointConfigName="config",
            ProductionVariants=[{**variant, "InitialInstanceCount": 1}],
            AsyncInferenceConfig={
                "ClientConfig": {"MaxConcurrentInvocationsPerInstance": 2},
                "OutputConfig": output,
            },
        )
        self.sagemaker.create_endpoint(EndpointName=NAME, EndpointConfigName="config")

    def status(self) -> str:
        described = self.sagemaker.describe_endpoint(EndpointName=NAME)
        assert described["EndpointStatus"] != "Failed", described["FailureReason"]
        return described["EndpointStatus"]

    def invoke(self, body: dict[str, Any], **parameters: str) -> dict[str, Any]:
        runtime = self.aws.client("sagemaker-runtime")
        content = {"ContentType": "application/json", "Accept": "application/json", "Body": json.dumps(body)}
        return runtime.invoke_endpoint_async(EndpointName=NAME, **content, **parameters)

    def progress(self, inference_id: str) -> dict[str, Any]:
        """Return what the container has written of a request's progress; nothing if it has not yet."""
        return json.loads(self.read(f"s3://outputs/audio/{inference_id}/progress.json") or b"{}")

    def cancel(self, inference_id: str) -> None:
        self.s3.put_object(Bucket="outputs", Key=f"cancel/{inference_id}", Body=b"")

    def read(self, location: str) -> bytes | None:
        bucket, _, key = location.removeprefix("s3://").partition("/")
        try:
            return self.s3.get_object(Bucket=bucket, Key=key)["Body"].read()
        except self.s3.exceptions.NoSuchKey:
            return None

    def processes(self, *words: str) -> list[psutil.Process]:
        """Return the processes of this endpoint's instances whose command line has all `words`, oldest first."""
        found: list[psutil.Process] = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                line, base = " ".join(process.cmdline()), process.environ().get("SAGEMAKER_BASE_DIR", "")
                if base.startswith(str(self.aws.state_dir)) and all(word in line for word in words):
                    found.append(process)
        return sorted(found, key=lambda process: process.create_time())


@contextlib.contextmanager
def in_service(state_dir: Path, staged: Path, eventually: Callable[..., Any]) -> Generator[RealEndpoint]:
    """Yield an endpoint with a staged model, in service; afterwards none of its processes is left."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=0, dereference=True) as archive:
        archive.add(staged, ".")
        archive.add(BUNDLE, "code", filter=lambda member: None if "__pycache__" in member.name else member)
    with LocalAws(state_dir) as aws:
        endpoint = RealEndpoint(aws, buffer.getvalue())
        eventually(lambda: endpoint.status() == "InService", 240)
        yield endpoint
    assert endpoint.processes() == []


@pytest.fixture(scope="module")
def real(
    tmp_path_factory: pytest.TempPathFactory, staged_musicgen: Path, eventually: Callable[..., Any]
) -> Iterator[RealEndpoint]:
    """The endpoint, in service."""
    with in_service(tmp_path_factory.mktemp("aws"), staged_musicgen, eventually) as endpoint:
        yield endpoint
    aws = endpoint.aws
    suffixes = [path.suffix for path in (aws.state_dir / "endpoints" / NAME).iterdir()]
    # Two instances, and one more where a busy machine answered pings too late; .data-log with a failed request.
    assert suffixes.count(".log") >= 2 and set(suffixes) <= {".log", ".data-log"}
    assert list((aws.state_dir / "tmp").iterdir()) == []


def test_prompt_becomes_a_clip_with_the_execution_roles_rights(
    real: RealEndpoint, eventually: Callable[..., Any]
) -> None:
    answer = real.invoke(ONE_SECOND)
    response = json.loads(eventually(lambda: real.read(answer["OutputLocation"]), 60))
    assert response["durations"] == [1.0]
    (location,) = response["generated_outputs_s3"]
    samples, rate = soundfile.read(io.BytesIO(real.read(location) or b""))
    assert (len(samples), rate) == (32_000, 32_000)


def test_prompt_becomes_a_stereo_clip_of_a_stereo_model(
    tmp_path: Path, staged_stereo: Path, eventually: Callable[..., Any]
) -> None:
    with in_service(tmp_path / "aws", staged_stereo, eventually) as endpoint:
        answer = endpoint.invoke(ONE_SECOND)
        response = json.loads(eventually(lambda: endpoint.read(answer["OutputLocation"]), 60))
        assert (response["model"], response["channels"]) == ("facebook/musicgen-stereo-small", 2)
        clip = read_clip(endpoint.read(response["generated_outputs_s3"][0]) or b"", response, "a tune", 0)
    assert (clip.channels, clip.duration, len(clip.wav)) == (2, 1.0, 44 + 2 * 2 * 32_000)
    left, right = clip.samples
    assert left.std() > 0.001 and right.std() > 0.001 and (left != right).any()


def test_invalid_prompt_becomes_a_failure_object_with_its_message(
    real: RealEndpoint, eventually: Callable[..., Any]
) -> None:
    answer = real.invoke({"texts": []})
    failure = json.loads(eventually(lambda: real.read(answer["FailureLocation"]), 60))
    assert failure["error"].startswith("texts must be")


def test_progress_of_a_request_ends_with_done(real: RealEndpoint, eventually: Callable[..., Any]) -> None:
    answer = real.invoke({**ONE_SECOND, "progress": True}, InferenceId="followed")
    assert eventually(lambda: real.read(answer["OutputLocation"]), 60)
    state = eventually(lambda: (found := real.progress("followed")).get("stage") == "done" and found, 60)
    assert {name: state[name] for name in ("percent", "clips_done", "clips")} == {
        "percent": 100,
        "clips_done": 1,
        "clips": 1,
    }


def test_running_request_that_the_client_cancels_becomes_a_failure_object(
    real: RealEndpoint, eventually: Callable[..., Any]
) -> None:
    longest = {"texts": ["a tune"] * 16, "generation_params": {"duration": 30}, "progress": True}
    answer = real.invoke(longest, InferenceId="running")
    eventually(lambda: real.progress("running").get("stage") == "generating", 60)
    real.cancel("running")
    failure = json.loads(eventually(lambda: real.read(answer["FailureLocation"]), 60))
    assert failure == {"error": "the request was cancelled by the client", "status": 409}
    eventually(lambda: real.progress("running")["stage"] == "cancelled", 60)
    assert real.progress("running")["percent"] < 100 and real.read(answer["OutputLocation"]) is None


def test_request_that_is_cancelled_before_it_is_delivered_is_not_generated(
    real: RealEndpoint, eventually: Callable[..., Any]
) -> None:
    real.cancel("early")
    answer = real.invoke({**ONE_SECOND, "progress": True}, InferenceId="early")
    failure = json.loads(eventually(lambda: real.read(answer["FailureLocation"]), 60))
    assert failure == {"error": "the request was cancelled by the client", "status": 409}
    eventually(lambda: real.progress("early").get("stage") == "cancelled", 60)
    assert real.progress("early")["percent"] == 0
    assert real.s3.list_objects_v2(Bucket="outputs", Prefix="audio/early/")["KeyCount"] == 1  # progress.json


def test_request_is_served_when_the_role_may_not_look_for_its_cancellation(
    real: RealEndpoint, eventually: Callable[..., Any]
) -> None:
    """As with a role of an older stack: S3 answers 403 for a cancellation that exists, too."""
    iam, document = real.aws.client("iam"), {"RoleName": "execution", "PolicyName": "contract"}
    policy = iam.get_role_policy(**document)["PolicyDocument"]
    kept = [one for one in policy["Statement"] if not one["Resource"].endswith("/cancel/*")]
    assert len(kept) == len(policy["Statement"]) - 1
    iam.put_role_policy(**document, PolicyDocument=json.dumps({**policy, "Statement": kept}))
    try:
        real.cancel("unseen")
        answer = real.invoke({**ONE_SECOND, "progress": True}, InferenceId="unseen")
        assert eventually(lambda: real.read(answer["OutputLocation"]), 60)
    finally:
        iam.put_role_policy(**document, PolicyDocument=json.dumps(policy))


def test_output_is_written_when_the_role_may_not_publish_the_message(
    real: RealEndpoint, eventually: Callable[..., Any]
) -> None:
    sqs, sns = real.aws.client("sqs"), real.aws.client("sns")
    queue = sqs.create_queue(QueueName="messages")["QueueUrl"]
    arn = let_sns_send(sqs, queue)
    sns.subscribe(TopicArn=real.topic, Protocol="sqs", Endpoint=arn)
    real.aws.client("iam").delete_role_policy(RoleName="execution", PolicyName="notify")
    try:
        answer = real.invoke(ONE_SECOND)
        assert eventually(lambda: real.read(answer["OutputLocation"]), 60)
        eventually(lambda: "is not authorized to perform: sns:Publish" in real.aws.log_path.read_text())
        assert "Messages" not in sqs.receive_message(QueueUrl=queue)
    finally:
        real.allow_publishing()


def test_container_output_is_in_the_log_group(real: RealEndpoint, eventually: Callable[..., Any]) -> None:
    logs = real.aws.client("logs")

    def ready_line() -> bool:
        streams = logs.describe_log_streams(logGroupName=real.group)["logStreams"]
        events = [
            event["message"]
            for stream in streams
            for event in logs.get_log_events(logGroupName=real.group, logStreamName=stream["logStreamName"])["events"]
        ]
        return any('"event": "ready"' in message for message in events)

    assert eventually(ready_line)


def test_killed_worker_restarts_in_the_same_container(real: RealEndpoint, eventually: Callable[..., Any]) -> None:
    launchers = real.processes("container_entrypoint.py")
    real.processes("model_service_worker")[-1].kill()
    answer = real.invoke(ONE_SECOND)
    assert eventually(lambda: real.read(answer["OutputLocation"]), 120)
    assert real.processes("container_entrypoint.py") == launchers


def test_second_instance_serves_next_to_the_first_and_is_removed(
    real: RealEndpoint, eventually: Callable[..., Any]
) -> None:
    def scale(count: int) -> None:
        real.sagemaker.update_endpoint_weights_and_capacities(
            EndpointName=NAME,
            DesiredWeightsAndCapacities=[{"VariantName": "AllTraffic", "DesiredInstanceCount": count}],
        )
        eventually(lambda: real.status() == "InService", 240)

    def running() -> list[int]:
        return [len(real.processes(name)) for name in ("container_entrypoint.py", "com.amazonaws.ml.mms.ModelServer")]

    scale(2)
    assert running() == [2, 2]
    answers = [real.invoke(ONE_SECOND) for _ in range(8)]
    assert all(eventually(lambda location=answer["OutputLocation"]: real.read(location), 60) for answer in answers)
    scale(1)
    eventually(lambda: running() == [1, 1], 60)  # the removed instance ends after the update
