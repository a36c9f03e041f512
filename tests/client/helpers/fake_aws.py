"""An AWS in virtual time: SageMaker's queue, S3 and the container, with faults and kills at every call."""

import io
import json
import math
import random
import threading
import wave
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
from botocore.exceptions import ClientError

from musicgen_client.aws import Clients

MEMBERS = ("Body", "InputLocation", "Filename", "S3OutputPathExtension")


class Killed(BaseException):
    """The process ends here; not an Exception, so that nothing in the client can handle it."""


def client_error(code: str, message: str = "", *, status: int = 400, operation: str = "GetObject") -> ClientError:
    answer: Any = {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(answer, operation)


def wav(seconds: float, seed: int, rate: int = 32_000, channels: int = 1) -> bytes:
    """Return a WAV file of a sine whose pitch depends on the seed; a second channel is silent."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate)
        count = round(seconds * rate)
        step = 2 * math.pi * (220 + seed % 880) / rate
        frames = np.zeros((count, channels), "<i2")
        frames[:, 0] = np.round(12_000 * np.sin(step * np.arange(count)))
        file.writeframes(frames.tobytes())
    return buffer.getvalue()


def _presign(_name: str, Params: dict[str, str], ExpiresIn: int) -> str:  # noqa: N803
    return f"https://s3/{Params['Key']}?{ExpiresIn}"


def _delete_message(**_: Any) -> None:
    """Delete nothing: a received message is gone."""


@dataclass
class Queued:
    id: str
    body: bytes
    output: str
    failure: str
    expires_at: float
    done_at: float = math.inf


@dataclass
class FakeAws:
    """`clients` is what the client uses. `generated` counts generations by inference id."""

    seed: int = 0
    seconds: float = 2.0  # that a request runs
    concurrency: int = 16
    members: tuple[str, ...] = MEMBERS
    now: float = 1_000_000.0
    objects: dict[tuple[str, str], bytes] = field(default_factory=dict[tuple[str, str], bytes])
    generated: Counter[str] = field(default_factory=Counter[str])
    accepted: Counter[str] = field(default_factory=Counter[str])
    queue: list[Queued] = field(default_factory=list[Queued])
    running: list[Queued] = field(default_factory=list[Queued])
    messages: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    answer: Callable[[Queued], tuple[int, bytes] | None] = lambda _: None
    fault: Callable[[str, str], None] = lambda _name, _when: None  # may raise before or after a call's effect
    instances: int = 1
    clip: Callable[[float, int], bytes] = wav
    channels: int | None = 1  # that responses state; None as bundles did before the field
    calls: Counter[str] = field(default_factory=Counter[str])

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self._working = threading.RLock()  # the page calls from several threads

    @property
    def clients(self) -> Clients:
        def shape(_: str) -> Any:
            return SimpleNamespace(input_shape=SimpleNamespace(members=(*self.members, "IfNoneMatch")))

        meta = SimpleNamespace(service_model=SimpleNamespace(operation_model=shape))
        s3 = SimpleNamespace(
            meta=meta,
            get_object=self._call(self._get),
            put_object=self._call(self._put),
            list_objects_v2=self._call(self._list),
            generate_presigned_url=_presign,
        )
        sqs = SimpleNamespace(receive_message=self._call(self._receive), delete_message=_delete_message)
        runtime = SimpleNamespace(meta=meta, invoke_endpoint_async=self._call(self._invoke))
        cloudformation = SimpleNamespace(describe_stacks=self._call(self._describe))
        sagemaker = SimpleNamespace(
            describe_endpoint=self._call(self._describe_endpoint),
            update_endpoint_weights_and_capacities=self._call(self._scale),
        )
        cloudwatch = SimpleNamespace(get_metric_data=self._call(self._metrics))
        return Clients(cloudformation, runtime, sagemaker, cloudwatch, s3, sqs)

    def sleep(self, seconds: float) -> None:
        """Let virtual time pass."""
        self.now += max(seconds, 0.01)
        self._work()

    def clock(self) -> float:
        return self.now

    def _call(self, effect: Callable[..., Any]) -> Callable[..., Any]:
        name = effect.__name__.strip("_")

        def call(**parameters: Any) -> Any:
            self.calls[name] += 1
            self.fault(name, "before")
            self._work()
            answer = effect(**parameters)
            self.fault(name, "after")
            return answer

        return call

    def _invoke(self, **call: Any) -> dict[str, str]:
        job = call["InferenceId"]
        self.accepted[job] += 1
        body = call.get("Body")
        if body is None:
            bucket, _, key = call["InputLocation"].removeprefix("s3://").partition("/")
            body = self.objects[bucket, key]
        unique = f"{self.random.getrandbits(64):x}"
        queued = Queued(
            job,
            body,
            f"out/{call.get('Filename', unique + '.out')}",
            f"failures/{unique}-error.out",
            self.now + call["RequestTTLSeconds"],
        )
        self.queue.append(queued)
        return {"OutputLocation": f"s3://outputs/{queued.output}", "FailureLocation": f"s3://outputs/{queued.failure}"}

    def _work(self) -> None:
        with self._working:
            self._advance()

    def _advance(self) -> None:
        for request in [request for request in self.running if request.done_at <= self.now]:
            self.running.remove(request)
            self._complete(request)
        for request in [request for request in self.queue if request.expires_at <= self.now]:
            self.queue.remove(request)
            reason = "ClientError: The request waited in the queue longer than RequestTTLSeconds."
            self._fail(request, reason.encode(), "Expired")
        while self.instances and self.queue and len(self.running) < self.concurrency:
            request = self.queue.pop(0)
            request.done_at = self.now + self.seconds * self.random.uniform(0.5, 1.5)
            self.running.append(request)
            if json.loads(request.body).get("progress"):
                progress = {"stage": "generating", "percent": 42, "updated": "2026-01-01T00:00:00Z"}
                self.objects["outputs", f"audio/{request.id}/progress.json"] = json.dumps(progress).encode()

    def _complete(self, request: Queued) -> None:
        if ("outputs", f"cancel/{request.id}") in self.objects:
            self._fail(request, b'{"error": "the request was cancelled by the client", "status": 409}', "Failed")
            return
        status, body = self.answer(request) or (200, self._generate(request))
        if status != 200:
            self._fail(request, body, "Failed")
            return
        self.objects["outputs", request.output] = body
        self._notify(request, "Completed", {"outputLocation": f"s3://outputs/{request.output}"})

    def _fail(self, request: Queued, body: bytes, status: str) -> None:
        self.objects["outputs", request.failure] = body
        self._notify(request, status, {"failureLocation": f"s3://outputs/{request.failure}"})

    def _notify(self, request: Queued, status: str, parameters: dict[str, str]) -> None:
        event = {"eventName": "InferenceResult", "inferenceId": request.id, "invocationStatus": status}
        self.messages.append({**event, "responseParameters": parameters})

    def _generate(self, request: Queued) -> bytes:
        self.generated[request.id] += 1
        body = json.loads(request.body)
        params = body.get("generation_params", {})
        sections = body.get("sections", [])
        count = (len(body.get("texts", [])) or bool(sections)) * body.get("n", 1) or body["unconditional_clips"]
        seeds = [(params["seed"] + index) % 2**32 for index in range(count)]
        loop = 240 * body["bars"] / body["bpm"] if body.get("loop") else 0.0
        duration = sum(section["duration"] for section in sections) or loop or params.get("duration", 5.06)
        urls: list[str] = []
        for index, seed in enumerate(seeds):
            key = f"audio/{request.id}/musicgen_small_{request.id}_{index}.wav"
            self.objects["outputs", key] = self.clip(duration, seed)
            urls.append(f"s3://outputs/{key}")
        response = {
            "contract": 1, "generated_outputs_s3": urls, "seeds": seeds, "durations": [duration] * count,
            "sampling_rate": 32_000, "model": "facebook/musicgen-small", "revision": "0" * 40,
            "inference_id": request.id, "timings": {"generate_seconds": 1.0, "upload_seconds": 0.1},
        } | ({"channels": self.channels} if self.channels else {})  # fmt: skip
        return json.dumps(response).encode()

    def _get(self, *, Bucket: str, Key: str) -> dict[str, Any]:  # noqa: N803
        if (Bucket, Key) not in self.objects:
            raise client_error("NoSuchKey", status=404)
        content = self.objects[Bucket, Key]
        return {"Body": io.BytesIO(content), "ContentLength": len(content)}

    def _put(self, *, Bucket: str, Key: str, Body: bytes, IfNoneMatch: str = "", **_: Any) -> None:  # noqa: N803
        if IfNoneMatch and (Bucket, Key) in self.objects:
            raise client_error("PreconditionFailed", status=412, operation="PutObject")
        self.objects[Bucket, Key] = Body

    def _list(self, *, Bucket: str, Prefix: str, MaxKeys: int) -> dict[str, Any]:  # noqa: N803
        keys = [key for bucket, key in self.objects if bucket == Bucket and key.startswith(Prefix)][:MaxKeys]
        return {"KeyCount": len(keys), "Contents": [{"Key": key} for key in keys]}

    def _receive(self, *, WaitTimeSeconds: int, MaxNumberOfMessages: int, **_: Any) -> dict[str, Any]:  # noqa: N803
        if not self.messages:
            self.sleep(WaitTimeSeconds)
        taken, self.messages = self.messages[:MaxNumberOfMessages], self.messages[MaxNumberOfMessages:]
        return {"Messages": [{"Body": json.dumps(event), "ReceiptHandle": "r"} for event in taken]}

    def _describe(self, **_: Any) -> dict[str, Any]:
        outputs = {
            "EndpointName": "music", "InputBucketName": "inputs", "OutputBucketName": "outputs",
            "InstancePricePerHourUsd": "1.515", "ModelDataUrl": f"s3://artifacts/models/{'d' * 64}/model.tar.gz",
        }  # fmt: skip
        listed = [{"OutputKey": name, "OutputValue": value} for name, value in outputs.items()]
        return {"Stacks": [{"StackStatus": "CREATE_COMPLETE", "Outputs": listed}]}

    def _describe_endpoint(self, **_: Any) -> dict[str, Any]:
        variant = {
            "VariantName": "AllTraffic",
            "CurrentInstanceCount": self.instances,
            "DesiredInstanceCount": self.instances,
        }
        return {"EndpointStatus": "InService", "ProductionVariants": [variant]}

    def _scale(self, **call: Any) -> None:
        self.instances = call["DesiredWeightsAndCapacities"][0]["DesiredInstanceCount"]

    def _metrics(self, **call: Any) -> dict[str, Any]:
        values = {"backlog": [float(len(self.queue) + len(self.running))], "age": [3.0]}
        return {"MetricDataResults": [{"Id": q["Id"], "Values": values[q["Id"]]} for q in call["MetricDataQueries"]]}
