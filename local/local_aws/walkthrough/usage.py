"""What the walkthrough's client asks of the deployed endpoint, and how it checks the answers."""

from __future__ import annotations

import json
import time
import uuid
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from local_aws.emulator.process import LocalAws
from local_aws.walkthrough.audio import Clip, read_clip
from local_aws.walkthrough.client import Client, Listener, StackOutputs
from local_aws.walkthrough.report import Report, StepFailed

NOTIFICATION_TIMEOUT = 180.0  # seconds; a clip of a few seconds takes about as long on one CPU thread


@dataclass(frozen=True)
class Order:
    """What the user asked for."""

    prompt: str
    seconds: float

    def request(self, seed: int) -> dict[str, Any]:
        """The order as a request for one clip."""
        return {"texts": [self.prompt], "generation_params": {"duration": self.seconds, "seed": seed}}


@dataclass(frozen=True)
class Asked:
    """A request on its way, and where its end will show."""

    inference_id: str
    output: str
    failure: str


@dataclass(frozen=True)
class Usage:
    """A client under its own role and a listener on both topics."""

    client: Client
    listener: Listener
    report: Report

    @classmethod
    def connect(cls, aws: LocalAws, outputs: StackOutputs, report: Report, made: ExitStack) -> Usage:
        """Make both; `made` removes them again."""
        listener = Listener(aws, [outputs["SuccessTopicArn"], outputs["ErrorTopicArn"]])
        made.callback(listener.close)
        client = Client(aws, outputs)
        made.callback(client.close)
        return cls(client, listener, report)

    def make_clip(self, order: Order, wav: Path) -> None:
        """One prompt: the notification, the response and the audio must all be there and right."""
        request = order.request(seed=7)
        self.report.say(f"request  {json.dumps(request)}")
        response = self._finish(self._ask(request))
        self.report.say(f"response {json.dumps(response)}")
        clip, data = self._clip_of(response, order)
        wav.write_bytes(data)
        self.report.say(f"clip     {clip.seconds:.2f} s, {clip.sampling_rate} Hz, {clip.channels} channel: {wav}")

    def make_clips_together(self, order: Order, count: int) -> None:
        """Several prompts at once: each gets its own clip, and their generations overlap."""
        started = time.monotonic()
        asked = [self._ask(order.request(seed)) for seed in range(count)]
        responses = [self._finish(one) for one in asked]
        wall = time.monotonic() - started
        for response in responses:
            self._clip_of(response, order)
        seeds = [response["seeds"][0] for response in responses]
        if seeds != list(range(count)):
            raise StepFailed(f"every request must get its own clip, with seeds 0 to {count - 1}, got {seeds}")
        batched = max(response["clips_in_flight"] for response in responses)
        self.report.say(
            f"{count} clips in {wall:.1f} s, notifications included; up to {batched} shared the model's steps"
        )

    def make_mistake(self) -> None:
        """A request that cannot be served: the error topic and the failure object must say so."""
        request: dict[str, Any] = {"texts": [], "generation_params": {"guidance_scale": -1}}
        self.report.say(f"request  {json.dumps(request)}")
        asked = self._ask(request)
        message = self._notified(asked, "Failed")
        self.report.say(f"message  {message['invocationStatus']}: {message['failureReason']}")
        self.report.say(f"failure  {self.client.download(asked.failure).decode()}")

    def _ask(self, request: dict[str, Any]) -> Asked:
        inference_id = str(uuid.uuid4())
        places = self.client.invoke(inference_id, request)
        return Asked(inference_id, places["output"], places["failure"])

    def _finish(self, asked: Asked) -> dict[str, Any]:
        """Wait for success; the response."""
        message = self._notified(asked, "Completed")
        self.report.say(f"message  {message['invocationStatus']}: {message['responseParameters']['outputLocation']}")
        return json.loads(self.client.download(asked.output))

    def _notified(self, asked: Asked, expected: str) -> dict[str, Any]:
        message = self.listener.wait(asked.inference_id, NOTIFICATION_TIMEOUT)
        if message["invocationStatus"] != expected:
            raise StepFailed(f"the notification must say {expected}, got {json.dumps(message)}")
        return message

    def _clip_of(self, response: dict[str, Any], order: Order) -> tuple[Clip, bytes]:
        data = self.client.download(response["generated_outputs_s3"][0])
        return read_clip(data, order.seconds), data
