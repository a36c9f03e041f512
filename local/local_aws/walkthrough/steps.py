"""The steps of `make local`, in order. Each prints its result and raises StepFailed if it fails."""

import json
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from local_aws.autoscaling.live import scaling_history
from local_aws.emulator.leftovers import find_leftovers
from local_aws.emulator.process import LocalAws
from local_aws.hub import LoopbackHub, Repository
from local_aws.planner.timeline_chart import draw, format_timeline
from local_aws.walkthrough import bundled_assets, demo_page, user_shell
from local_aws.walkthrough.cdk_cli import CdkCli
from local_aws.walkthrough.client import (
    Client,
    ClipRequest,
    Invocation,
    NotificationQueue,
    check_clip,
    failed_resource,
    hear_sections,
    shorten,
    stack_outputs,
)
from local_aws.walkthrough.report import Report, StepFailed
from local_aws.walkthrough.toy_model import ToyModel, toy_melody_model, toy_model

STEPS, DEMO_STEPS = 13, 7
BUNDLED_ASSETS = Path(".local") / "bundled-assets"
STACK = "MusicGen-dev"
CONCURRENT_PROMPTS = 8
SECTIONS, SECTION_SECONDS = 10, 30.0  # of the longest piece that a request may ask for
CLOCK_FACTOR = 60.0  # a minute of alarms and policies takes a second
_SCALE_IN_TIMEOUT = 180.0  # seconds


@dataclass
class Walkthrough:
    """The state that the steps share."""

    project: Path
    state: Path
    report: Report
    request: ClipRequest
    keep_running: bool = False
    piece: bool = False  # whether to make a piece of five minutes, too
    page: Path | None = None  # Python with Gradio, to show the client's page instead of using the stack
    heard: str = ""  # in the clip, once there is one

    @property
    def wav(self) -> Path:
        return self.state / "clip.wav"

    def run(self) -> None:
        """Deploy, use and destroy the stack. Stop everything that was started, also when a step fails."""
        with ExitStack() as started:
            model, aws, hub = self._start(started)
            cdk = CdkCli(self.project, self.state / "cdk.out", aws.environment(), self.state / "cdk.log", self.report)
            self._synthesise(cdk, aws, model, hub)
            outputs = self._deploy(cdk, aws)
            if self.page:
                self._show_page(aws, self.page)
            else:
                self._use(aws, outputs)
                with self.report.step("cdk diff: the deployed stack matches the code"):
                    cdk.diff()
                if self.keep_running:
                    self._keep_running(aws)
            self._destroy(cdk, aws)

    def _start(self, started: ExitStack) -> tuple[ToyModel, LocalAws, LoopbackHub]:
        with self.report.step("a toy model of MusicGen's architecture"):
            model = toy_melody_model(self.state / "model") if self.request.melody else toy_model()
            self.report.say(f"{model.size / 1e6:.1f} MB, not Meta's, as {model.model_id} at {model.revision[:12]}…")
        with self.report.step("start the embedded AWS and a loopback Hugging Face Hub"):
            aws = started.enter_context(LocalAws(self.state / "aws", clock_factor=CLOCK_FACTOR))
            repository = Repository.from_folder(model.folder, model_id=model.model_id, revision=model.revision)
            hub = started.enter_context(LoopbackHub(repository))
            self.report.say(f"AWS  {aws.endpoint_url}  account {aws.account_id}, {aws.region}\nHub  {hub.url}")
        return model, aws, hub

    def _synthesise(self, cdk: CdkCli, aws: LocalAws, model: ToyModel, hub: LoopbackHub) -> None:
        title = "cdk synth: the same app.py that deploys to AWS; and cdk bootstrap, once per account"
        with self.report.step(title), cdk.bootstrapping(aws.account_id, aws.region):
            context = {"env": "dev", "model_id": model.model_id, "revision": model.revision}
            bundled_assets.restore(self.project / BUNDLED_ASSETS, cdk.assembly)
            cdk.synth({**context, "hub_endpoint": hub.url})
            bundled_assets.keep(cdk.assembly, self.project / BUNDLED_ASSETS)
            template = json.loads((cdk.assembly / f"{STACK}.template.json").read_text())
            self.report.say(f"{STACK}: {len(template['Resources'])} resources, no open cdk-nag findings")

    def _deploy(self, cdk: CdkCli, aws: LocalAws) -> dict[str, str]:
        with self.report.step("cdk deploy: the Lambda stages the model, the endpoint comes into service"):
            self._operate(aws, cdk.deploy)
            outputs = stack_outputs(aws, STACK)
            endpoint = aws.client("sagemaker").describe_endpoint(EndpointName=outputs["EndpointName"])
            self.report.say(f"staged   {outputs['ModelDataUrl']}")
            self.report.say(f"endpoint {outputs['EndpointName']} is {endpoint['EndpointStatus']}")
        return outputs

    def _wait_for_zero(self, aws: LocalAws, endpoint: str) -> None:
        """Wait until the endpoint has no instances. Raise StepFailed, with the alarms' states, after a timeout."""
        deadline = time.monotonic() + _SCALE_IN_TIMEOUT
        while True:
            described = aws.client("sagemaker").describe_endpoint(EndpointName=endpoint)
            variant = described["ProductionVariants"][0]
            counts = variant["DesiredInstanceCount"], variant["CurrentInstanceCount"]
            if counts == (0, 0) and described["EndpointStatus"] == "InService":
                return
            if time.monotonic() > deadline:
                alarms = self._history(aws, endpoint)[-1].alarms
                raise StepFailed(
                    f"endpoint {endpoint} did not scale to 0 instances in {_SCALE_IN_TIMEOUT:.0f} s; "
                    f"its alarms are {alarms}"
                )
            time.sleep(0.2)

    def _show_scaling(self, aws: LocalAws, endpoint: str) -> None:
        """Print the policies' decisions, and print and draw backlog and instances over time."""
        minutes = self._history(aws, endpoint)
        for minute in minutes:
            if minute.decision:
                self.report.say(f"minute {minute.at / 60:4.0f}  {minute.decision}")
        self.report.say(format_timeline(minutes))
        chart = self.state / "timeline.svg"
        draw(minutes, chart, f"{endpoint} on the embedded AWS")
        self.report.say(f"chart    {chart}")

    def _history(self, aws: LocalAws, endpoint: str) -> list[scaling_history.RecordedMinute]:
        return scaling_history.read(scaling_history.path_of(aws.state_dir / scaling_history.FOLDER, endpoint))

    def _use(self, aws: LocalAws, outputs: dict[str, str]) -> None:
        """Request a clip, from zero the same once more, several at once and an invalid one; check every result."""
        endpoint = outputs["EndpointName"]
        with ExitStack() as opened:
            notifications = NotificationQueue(aws, outputs)
            opened.callback(notifications.close)
            client = Client(aws, outputs)
            opened.callback(client.close)
            with self.report.step("InvokeEndpointAsync: a prompt becomes a clip"):
                self._make_clip(client, notifications)
            with self.report.step("no requests: the deployed policies scale the endpoint to zero"):
                self.report.say(f"the policies' clock runs {CLOCK_FACTOR:g} times faster; no other value is changed")
                self._wait_for_zero(aws, endpoint)
                self.report.say(f"endpoint {endpoint} has no instances")
            with self.report.step("InvokeEndpointAsync: a prompt wakes the endpoint"):
                self._make_same_clip(client, notifications)
            with self.report.step(f"InvokeEndpointAsync: {CONCURRENT_PROMPTS} prompts at once share the instance"):
                self._make_clips_concurrently(client, notifications)
            if self.piece:
                with self.report.step(f"InvokeEndpointAsync: a piece in {SECTIONS} sections"):
                    self._make_piece(client, notifications)
            with self.report.step("InvokeEndpointAsync: an invalid request fails with an explanation"):
                request: dict[str, Any] = {"texts": [], "generation_params": {"guidance_scale": -1}}
                self.report.say(f"request  {json.dumps(request)}")
                invocation = client.invoke(request)
                message = notifications.wait(invocation, "Failed")
                self.report.say(f"message  {message['invocationStatus']}: {message['failureReason']}")
                self.report.say(f"failure  {client.download(invocation.failure).decode()}")
        with self.report.step("back at zero: what the policies did"):
            self._wait_for_zero(aws, endpoint)
            self._show_scaling(aws, endpoint)

    def _make_clip(self, client: Client, notifications: NotificationQueue) -> None:
        request = self.request.body(seed=7)
        self.report.say(f"request  {shorten(request)}")
        response = self._response(client, notifications, client.invoke(request))
        self.report.say(f"response {json.dumps(response)}")
        data = client.download(response["generated_outputs_s3"][0])
        description = check_clip(data, self.request.seconds)
        self.wav.write_bytes(data)
        self.heard = self.request.heard(data)
        self.report.say(f"clip     {description}: {self.wav}")
        self.report.say(f"asked    {self.request.asked}\nheard    {self.heard}")

    def _make_same_clip(self, client: Client, notifications: NotificationQueue) -> None:
        """Request the first clip again, from a new instance. Raise StepFailed if it differs: a seed fixes the clip."""
        response = self._response(client, notifications, client.invoke(self.request.body(seed=7)))
        if client.download(response["generated_outputs_s3"][0]) != self.wav.read_bytes():
            raise StepFailed("the same request with the same seed must give the same clip, got another")
        self.report.say("clip     the same as before, byte for byte: its seed is the same")

    def _make_clips_concurrently(self, client: Client, notifications: NotificationQueue) -> None:
        started, seeds = time.monotonic(), list(range(CONCURRENT_PROMPTS))
        invocations = [client.invoke(self.request.body(seed)) for seed in seeds]
        responses = [self._response(client, notifications, invocation) for invocation in invocations]
        wall = time.monotonic() - started
        for response in responses:
            check_clip(client.download(response["generated_outputs_s3"][0]), self.request.seconds)
        returned = [response["seeds"][0] for response in responses]
        if returned != seeds:
            raise StepFailed(f"every request must get its own clip, with seeds {seeds}, got {returned}")
        batched = max(response["clips_in_flight"] for response in responses)
        self.report.say(f"{len(seeds)} clips in {wall:.1f} s, including notifications; up to {batched} in one batch")

    def _make_piece(self, client: Client, notifications: NotificationQueue) -> None:
        request = self.request.piece(SECTIONS, SECTION_SECONDS)
        self.report.say(f"request  {SECTIONS} sections of {SECTION_SECONDS:g} s: {request['sections'][0]['text']!r}, …")
        started = time.monotonic()
        response = self._response(client, notifications, client.invoke(request))
        data = client.download(response["generated_outputs_s3"][0])
        description, wav = check_clip(data, SECTIONS * SECTION_SECONDS), self.state / "piece.wav"
        wav.write_bytes(data)
        self.report.say(f"clip     {description}, after {time.monotonic() - started:.1f} s: {wav}")
        for number, heard in enumerate(hear_sections(data, SECTIONS), 1):
            self.report.say(f"heard    section {number}: {heard}")

    def _response(self, client: Client, notifications: NotificationQueue, invocation: Invocation) -> dict[str, Any]:
        message = notifications.wait(invocation, "Completed")
        self.report.say(f"message  {message['invocationStatus']}: {message['responseParameters']['outputLocation']}")
        return json.loads(client.download(invocation.output))

    def _keep_running(self, aws: LocalAws) -> None:
        """Show how to use the stack, and wait for Ctrl-C."""
        script = user_shell.write_environment(self.project, self.state, aws, STACK)
        lines = "\n".join(f"  {command}" for command in user_shell.commands(script))
        self.report.say(f"\nrunning until Ctrl-C. In another shell:\n{lines}")
        try:
            while True:
                time.sleep(1)
        except KeyboardInterrupt:
            self.report.say("\ninterrupted: removing the stack")

    def _show_page(self, aws: LocalAws, python: Path) -> None:
        """Run the client's page until it ends or Ctrl-C. Raise StepFailed if it fails."""
        script = user_shell.write_environment(self.project, self.state, aws, STACK, python=python)
        with self.report.step("musicgen ui: the client's page; Ctrl-C removes everything"):
            self.report.say(f"in another shell, also: source {script}")
            environment = {**aws.environment(), "MUSICGEN_STACK": STACK, "MUSICGEN_STATE": str(self.state / "client")}
            demo_page.show(user_shell.command(self.state), environment, self.state / "page.log", self.report)

    def _destroy(self, cdk: CdkCli, aws: LocalAws) -> None:
        with self.report.step("cdk destroy"):
            self._operate(aws, cdk.destroy)
        with self.report.step("check that nothing is left"):
            left = find_leftovers(aws, STACK)
            for name in left.of_users:
                self.report.say(f"not the stack's, so created by you: {name}")
            if left.of_stacks:
                found = ", ".join(left.of_stacks)
                raise StepFailed(f"destroy must leave nothing of {STACK}, found {len(left.of_stacks)}: {found}")
            self.report.say(
                "nothing left: no bucket, object, unfinished upload, log group, topic, role, policy, alarm, function,"
            )
            self.report.say("endpoint, model or scalable target of the stack")

    def _operate(self, aws: LocalAws, operation: Callable[[], None]) -> None:
        """Run a command of the CLI on the stack; name the resource at which it failed."""
        try:
            operation()
        except StepFailed as error:
            resource = failed_resource(aws, STACK)
            raise StepFailed(f"{error}: {resource}" if resource else str(error)) from error
