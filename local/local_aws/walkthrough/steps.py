"""The steps of `make local`, in order. Each prints what it did; each raises StepFailed when it did not."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from local_aws.hub import LoopbackHub
from local_aws.process import LocalAws
from local_aws.residue import residue
from local_aws.walkthrough.audio import Clip, read_clip
from local_aws.walkthrough.cdk_cli import CdkCli
from local_aws.walkthrough.client import Client, Listener, StackOutputs
from local_aws.walkthrough.report import Report, StepFailed
from local_aws.walkthrough.stand_in import StandIn, make_stand_in

STEPS = 10
STACK = "MusicGen-dev"
NOTIFICATION_TIMEOUT = 180.0  # seconds; a clip of a few seconds takes about as long on one CPU thread


@dataclass(frozen=True)
class Order:
    """What the user asked for."""

    prompt: str
    seconds: float


@dataclass
class Walkthrough:
    """Everything that the steps share, from the first synthesis to the last look around."""

    project: Path
    state: Path
    report: Report
    order: Order
    wait: Callable[[LocalAws, StackOutputs], None] | None = None
    wav: Path = field(init=False)

    def __post_init__(self) -> None:
        self.wav = self.state / "clip.wav"

    def run(self) -> None:
        """Deploy, use and remove the stack; whatever was started is ended, also when a step fails."""
        with ExitStack() as started:
            stand_in, aws, hub = self._start(started)
            cdk = CdkCli(self.project, self.state / "cdk.out", aws.environment(), self.state / "cdk.log", self.report)
            self._synthesise(cdk, stand_in, hub)
            outputs = self._deploy(cdk, aws)
            self._use(aws, outputs)
            with self.report.step("cdk diff: what is deployed is what the code says"):
                cdk.diff()
            if self.wait is not None:
                self.wait(aws, outputs)
            self._remove(cdk, aws)

    def _start(self, started: ExitStack) -> tuple[StandIn, LocalAws, LoopbackHub]:
        with self.report.step("make a tiny stand-in for MusicGen, with random weights"):
            stand_in = make_stand_in(self.state / "stand-in")
            self.report.say(f"{stand_in.model_id} at {stand_in.revision[:12]}…: {stand_in.size / 1e6:.1f} MB of noise")
        with self.report.step("start the embedded AWS and a loopback Hugging Face Hub"):
            aws = started.enter_context(LocalAws(self.state / "aws"))
            hub = started.enter_context(
                LoopbackHub(stand_in.folder, model_id=stand_in.model_id, revision=stand_in.revision)
            )
            self.report.say(f"AWS  {aws.endpoint_url}  account {aws.account_id}, {aws.region}\nHub  {hub.url}")
        return stand_in, aws, hub

    def _synthesise(self, cdk: CdkCli, stand_in: StandIn, hub: LoopbackHub) -> None:
        with self.report.step("cdk synth: the same app.py that deploys to AWS"):
            context = {"env": "dev", "model_id": stand_in.model_id, "revision": stand_in.revision}
            cdk.synth({**context, "hub_endpoint": hub.url})
            template = json.loads((cdk.assembly / f"{STACK}.template.json").read_text())
            self.report.say(f"{STACK}: {len(template['Resources'])} resources, cdk-nag found nothing unexplained")

    def _deploy(self, cdk: CdkCli, aws: LocalAws) -> StackOutputs:
        with self.report.step("cdk bootstrap: once per account"):
            cdk.bootstrap(aws.account_id, aws.region)
        with self.report.step("cdk deploy: the Lambda stages the model, the endpoint comes into service"):
            cdk.deploy()
            outputs = StackOutputs.read(aws, STACK)
            endpoint = aws.client("sagemaker").describe_endpoint(EndpointName=outputs["EndpointName"])
            self.report.say(f"staged   {outputs['ModelDataUrl']}")
            self.report.say(f"endpoint {outputs['EndpointName']} is {endpoint['EndpointStatus']}")
        return outputs

    def _use(self, aws: LocalAws, outputs: StackOutputs) -> None:
        """Be a client: make a clip, then make a mistake."""
        with ExitStack() as made:
            listener = Listener(aws, [outputs["SuccessTopicArn"], outputs["ErrorTopicArn"]])
            made.callback(listener.close)
            client = Client(aws, outputs)
            made.callback(client.close)
            with self.report.step("InvokeEndpointAsync: a prompt becomes a clip"):
                self._make_clip(client, listener)
            with self.report.step("InvokeEndpointAsync: a bad request fails loudly"):
                self._make_mistake(client, listener)

    def _make_clip(self, client: Client, listener: Listener) -> Clip:
        request = {"texts": [self.order.prompt], "generation_params": {"duration": self.order.seconds, "seed": 7}}
        inference_id = str(uuid.uuid4())
        self.report.say(f"request  {json.dumps(request)}")
        places = client.invoke(inference_id, request)
        message = listener.wait(inference_id, NOTIFICATION_TIMEOUT)
        if message["invocationStatus"] != "Completed":
            raise StepFailed(f"the success topic must say Completed, got {json.dumps(message)}")
        self.report.say(f"message  {message['invocationStatus']}: {message['responseParameters']['outputLocation']}")
        response = json.loads(client.download(places["output"]))
        self.report.say(f"response {json.dumps(response)}")
        data = client.download(response["generated_outputs_s3"][0])
        clip = read_clip(data, self.order.seconds)
        self.wav.write_bytes(data)
        self.report.say(f"clip     {clip.seconds:.2f} s, {clip.sampling_rate} Hz, {clip.channels} channel: {self.wav}")
        return clip

    def _make_mistake(self, client: Client, listener: Listener) -> None:
        request: dict[str, Any] = {"texts": [], "generation_params": {"guidance_scale": -1}}
        inference_id = str(uuid.uuid4())
        self.report.say(f"request  {json.dumps(request)}")
        places = client.invoke(inference_id, request)
        message = listener.wait(inference_id, NOTIFICATION_TIMEOUT)
        if message["invocationStatus"] != "Failed":
            raise StepFailed(f"the error topic must say Failed, got {json.dumps(message)}")
        self.report.say(f"message  {message['invocationStatus']}: {message['failureReason']}")
        self.report.say(f"failure  {client.download(places['failure']).decode()}")

    def _remove(self, cdk: CdkCli, aws: LocalAws) -> None:
        with self.report.step("cdk destroy"):
            cdk.destroy()
        with self.report.step("look for anything left behind"):
            left = residue(aws)
            if left:
                raise StepFailed(f"nothing must be left after destroy, found {len(left)}: {', '.join(left)}")
            self.report.say(
                "nothing: no bucket, object, unfinished upload, log group, topic, role, policy, alarm, function,"
            )
            self.report.say("endpoint, model or scalable target (CDK's bootstrap stack aside)")
