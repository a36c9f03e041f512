"""Runs the staging function as Lambda does, between a loopback Hub and S3, and provides faults."""

import io
import json
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from safetensors.numpy import load

from local_aws.hub import HubRequest, LoopbackHub, Reply
from stage_model.errors import OutOfTimeError
from stage_model.handler import CONTINUATION_RESERVE_S, handler
from stage_model.retry import SystemClock
from tests.stage_model.fakes.response_sink import ResponseSink
from tests.stage_model.fakes.s3 import LoopbackS3
from tests.stage_model.fakes.s3 import Reply as S3Reply

BUCKET, PREFIX = "artifacts", "models/Stack/StagedModel/"


class JumpingClock(SystemClock):
    """The system clock, `ahead` seconds fast."""

    ahead = 0.0

    def now(self) -> float:
        """Return the time, in seconds since the epoch."""
        return super().now() + self.ahead


class Lambda:
    """Runs the handler in as many invocations as it starts, and inspects the bucket."""

    def __init__(self, hub: LoopbackHub, s3: LoopbackS3, sink: ResponseSink) -> None:
        self.hub, self.s3, self.sink = hub, s3, sink
        self.queued_events: list[Mapping[str, Any]] = []
        self.seconds = 120.0
        self.invoked_function_arn = "arn:aws:lambda:us-east-1:123456789012:function:stage"
        self.invocations = self.crashes = 0
        self.clock = JumpingClock()

    def get_remaining_time_in_millis(self) -> int:
        """Return the time that an invocation has."""
        return int(self.seconds * 1000)

    def event(self, kind: str, request: str, physical_id: str | None = None, **properties: Any) -> dict[str, Any]:
        """Return a request's event."""
        known = {"PhysicalResourceId": physical_id} if physical_id is not None else {}
        return {
            "RequestType": kind, "ResponseURL": self.sink.url, "StackId": "stack", "RequestId": request,
            "LogicalResourceId": "StagedModel", **known,
            "ResourceProperties": {
                "ModelId": self.hub.repository.model_id, "Revision": self.hub.repository.revision,
                "DecoderDtype": "float16", "CodeBucket": "assets", "CodeKey": "bundle.zip", "ModelBucket": BUCKET,
                "KeyPrefix": PREFIX, **properties,
            },
        }  # fmt: skip

    def run(self, kind: str = "Create", request: str = "r1", physical_id: str | None = None, **properties: Any) -> Any:
        """Serve a request to its end and return the response."""
        self.queued_events.append(self.event(kind, request, physical_id, **properties))
        while self.queued_events:
            self._serve(self.queued_events.pop(0))
        return self.sink.responses[-1]

    def _serve(self, event: Mapping[str, Any]) -> None:
        """Run the handler, with two retries if it crashes, as Lambda does for asynchronous events."""
        for attempt in range(3):
            self.invocations += 1
            try:
                handler(event, self)
            except OutOfTimeError:
                self.crashes += 1
                if attempt == 2:
                    raise
            else:
                break

    def end_invocations_after(self, parts: Callable[[], int], times: int = 10**9) -> None:
        """Use up the working time of the next `times` invocations once `parts()` parts were uploaded in each."""
        left, over = [parts(), times], [0]

        def count_parts(method: str, path: str, reply: S3Reply) -> S3Reply:
            left[0] -= "partNumber" in path and method == "PUT"
            if left[0] <= 0 < left[1] and self.invocations > over[0]:  # another part may still arrive
                over[0] = self.invocations
                left[:] = [parts(), left[1] - 1]
                self.clock.ahead += self.seconds - CONTINUATION_RESERVE_S + 1
            return reply

        self.s3.on_reply = count_parts

    def invoke_async(self, function_arn: str, event: Mapping[str, Any]) -> None:
        """Queue an event, in place of Lambda's API."""
        self.queued_events.append(event)

    def staged(self) -> dict[str, bytes]:
        """Return the staged objects by bucket and key."""
        return {k: v for k, v in self.s3.objects.items() if k.startswith(BUCKET) and "/runs/" not in k}

    def is_empty(self) -> bool:
        """Return whether there are no staged objects or uploads."""
        return not self.staged() and not self.s3.uploads

    def holds_the_model(self, response: Any) -> bool:
        """Return whether the bucket holds exactly the model in the response, with all published values."""
        place = f"{BUCKET}/{response['PhysicalResourceId']}"
        staged = self.staged()
        if self.s3.uploads or not staged or not all(key.startswith(place) for key in staged):
            return False
        files = {key.removeprefix(place): data for key, data in staged.items()}
        if not place.endswith("/"):
            with tarfile.open(fileobj=io.BytesIO(staged[place]), mode="r:gz") as archive:
                files = {info.name: file.read() for info in archive if (file := archive.extractfile(info))}
        listed = {entry["path"] for entry in json.loads(files.pop("musicgen-manifest.json"))["files"]}
        if listed != files.keys():
            return False
        got, want = load(files["model.safetensors"]), load(self.hub.repository.read("model.safetensors"))
        return got.keys() == want.keys() and all((got[n].astype(v.dtype) == v).all() for n, v in want.items())


def bundle(files: Mapping[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    """Return a zip of these files."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", compression) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return target.getvalue()


def reads_weights(request: HubRequest) -> bool:
    """Return whether a request asks the CDN for the weights."""
    return request.origin == "cdn" and "model.safetensors" in request.target


def on_weights(
    change: Callable[[HubRequest, Reply], Reply], times: int = 10**9
) -> Callable[[HubRequest, Reply], Reply]:
    """Return a hook that changes the first `times` replies with bytes of the weights."""
    left = [times]

    def on_reply(request: HubRequest, reply: Reply) -> Reply:
        if not reads_weights(request) or reply.status != 206 or left[0] <= 0:
            return reply
        left[0] -= 1
        return change(request, reply)

    return on_reply


def flipped(request: HubRequest, reply: Reply) -> Reply:
    """Flip one bit in the middle."""
    at = len(reply.body) // 2
    return replace(reply, body=reply.body[:at] + bytes([reply.body[at] ^ 1]) + reply.body[at + 1 :])


def expire_leases(aws: Lambda) -> None:
    """Expire all leases, as if time had passed."""
    for key, data in aws.s3.objects.items():
        if "/runs/" in key:
            aws.s3.objects[key] = json.dumps({**json.loads(data), "lease_until": 0}).encode()
