"""The steps of `make local`, in order. Each prints what it did; each raises StepFailed when it did not."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from local_aws.emulator.leftovers import find_leftovers
from local_aws.emulator.process import LocalAws
from local_aws.hub import LoopbackHub
from local_aws.walkthrough import scaling
from local_aws.walkthrough.cdk_cli import CdkCli
from local_aws.walkthrough.client import StackOutputs
from local_aws.walkthrough.report import Report, StepFailed
from local_aws.walkthrough.stand_in import StandIn, make_stand_in
from local_aws.walkthrough.usage import Order, Usage

STEPS = 13
STACK = "MusicGen-dev"
TOGETHER = 8  # prompts


@dataclass
class Walkthrough:
    """Everything that the steps share, from the first synthesis to the last look around."""

    project: Path
    state: Path
    report: Report
    order: Order
    wait: Callable[[LocalAws, StackOutputs], None] | None = None
    wav: Path = field(init=False)
    timeline: Path = field(init=False)

    def __post_init__(self) -> None:
        self.wav = self.state / "clip.wav"
        self.timeline = self.state / "timeline.svg"

    def run(self) -> None:
        """Deploy, use and remove the stack; whatever was started is ended, also when a step fails."""
        with ExitStack() as started:
            stand_in, aws, hub = self._start(started)
            cdk = CdkCli(self.project, self.state / "cdk.out", aws.environment(), self.state / "cdk.log", self.report)
            self._synthesise(cdk, stand_in, hub)
            outputs = self._deploy(cdk, aws)
            self._fall_idle(aws, outputs)
            self._use(aws, outputs)
            self._tell(aws, outputs)
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
            aws = started.enter_context(LocalAws(self.state / "aws", clock_factor=scaling.CLOCK_FACTOR))
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

    def _fall_idle(self, aws: LocalAws, outputs: StackOutputs) -> None:
        with self.report.step("nobody asks: the deployed policies scale the endpoint to zero"):
            self.report.say(f"a minute of their clock takes {60 / scaling.CLOCK_FACTOR:g} s; no other value is changed")
            scaling.await_zero(aws, outputs["EndpointName"])
            self.report.say(f"endpoint {outputs['EndpointName']} has no instance")

    def _tell(self, aws: LocalAws, outputs: StackOutputs) -> None:
        with self.report.step("back at zero: what the policies did"):
            scaling.await_zero(aws, outputs["EndpointName"])
            scaling.tell(aws, outputs["EndpointName"], self.report, self.timeline)

    def _use(self, aws: LocalAws, outputs: StackOutputs) -> None:
        """Be a client: make a clip, make several at once, then make a mistake."""
        with ExitStack() as made:
            usage = Usage.connect(aws, outputs, self.report, made)
            with self.report.step("InvokeEndpointAsync: a prompt wakes it and becomes a clip"):
                usage.make_clip(self.order, self.wav)
            with self.report.step(f"InvokeEndpointAsync: {TOGETHER} prompts at once share the instance"):
                usage.make_clips_together(self.order, TOGETHER)
            with self.report.step("InvokeEndpointAsync: a bad request fails loudly"):
                usage.make_mistake()

    def _remove(self, cdk: CdkCli, aws: LocalAws) -> None:
        with self.report.step("cdk destroy"):
            cdk.destroy()
        with self.report.step("look for anything left behind"):
            left = find_leftovers(aws)
            if left:
                raise StepFailed(f"nothing must be left after destroy, found {len(left)}: {', '.join(left)}")
            self.report.say(
                "nothing: no bucket, object, unfinished upload, log group, topic, role, policy, alarm, function,"
            )
            self.report.say("endpoint, model or scalable target (CDK's bootstrap stack aside)")
