"""The thread that scales the running endpoints: one round over all scalable targets per minute of its clock."""

import atexit
import logging
import os
import threading
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
from botocore.exceptions import BotoCoreError, ClientError

from local_aws import sagemaker
from local_aws.autoscaling.live import scaling_history
from local_aws.autoscaling.live.accelerated_clock import CLOCK_FACTOR, AcceleratedClock
from local_aws.autoscaling.live.aws_client import AwsApi
from local_aws.autoscaling.rules.alarm_monitor import AlarmMonitor
from local_aws.autoscaling.rules.autoscaler import Decision, ScalableTarget
from local_aws.autoscaling.rules.controller import PERIOD_SECONDS, Controller
from local_aws.autoscaling.rules.endpoint_metrics import DURATIONS, EndpointLoad, endpoint_samples, unit_of
from local_aws.autoscaling.rules.scaling_config import Description, ScalingConfig, endpoint_and_variant, parse_alarm
from local_aws.autoscaling.rules.scheduled_actions import ScheduledAction
from local_aws.emulator import clients
from local_aws.emulator.operations import scaling
from local_aws.sagemaker.endpoint import Endpoint
from local_aws.sagemaker.requests.results import EndpointMetrics

_log = logging.getLogger(__name__)
_JOIN_SECONDS = 1.0  # while the server stops, a call in progress may hang


def install() -> None:
    """Start autoscaling in the server process. Call once, after `sagemaker.install`.

    The environment variable LOCAL_AWS_CLOCK_FACTOR sets the clock's speed: with 60, a minute takes a second.
    """
    clock = AcceleratedClock(float(os.environ.get(CLOCK_FACTOR, "1")))
    service = ScalingService(clock, clients.runtime().state / scaling_history.FOLDER)
    service.start()
    atexit.register(service.stop)


class ScalingService:
    """Run a Controller for each scalable target whose endpoint exists; write their history to `folder`."""

    def __init__(self, clock: AcceleratedClock, folder: Path) -> None:
        self._clock = clock
        self._folder = folder
        self._aws = AwsApi()
        self._started_at = datetime.now(UTC)
        self._controllers: dict[str, tuple[Controller, EndpointVariant]] = {}
        self._unscaled: dict[str, EndpointVariant] = {}
        self._monitor = AlarmMonitor(self._aws.set_alarm_state, epoch=self._started_at)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name="scaling")

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Stop after the current round, without waiting for one that hangs."""
        self._stopped.set()
        self._thread.join(_JOIN_SECONDS)

    def round(self) -> None:
        """Process the minute that ends at the clock's `now`."""
        targets = {target["ResourceId"]: target for target in self._aws.targets()}
        for deregistered in self._controllers.keys() - targets.keys():
            del self._controllers[deregistered]
        now = self._clock.now
        alarms = self._aws.alarms()
        self._monitor.deploy(parse_alarm(alarm) for alarm in alarms)
        self._monitor.set_states({alarm["AlarmName"]: alarm["StateValue"] for alarm in alarms})
        for metric, value, age, unit in self._aws.new_samples():
            # However fast the clock: a sample of this moment belongs to this minute, an older one is as old as it says.
            self._monitor.store.put(metric, value, now - PERIOD_SECONDS - max(0.0, age - PERIOD_SECONDS), unit)
        self._sample_unscaled({endpoint_and_variant(resource_id)[0] for resource_id in targets})
        running = self._sampled_controllers(targets, alarms)
        self._monitor.evaluate(now)
        for controller in running:
            if controller.settled:
                scaling.complete_activities(controller.resource_id)
            minute = controller.scale(now)
            if minute.not_scaled:
                scaling.record_not_scaled(controller.resource_id, minute.not_scaled)
            scaling_history.append(scaling_history.path_of(self._folder, controller.endpoint), minute)

    def _sampled_controllers(self, targets: Mapping[str, Description], alarms: list[Description]) -> list[Controller]:
        """Sample every endpoint with a scalable target, publish its metrics, and return their controllers."""
        if not targets:
            return []
        policies, actions = self._aws.policies(), self._aws.scheduled_actions()
        running: list[Controller] = []
        for resource_id, target in targets.items():
            scheduled = [action for action in actions if action["ResourceId"] == resource_id]
            try:
                config = ScalingConfig.of(target, policies, alarms, scheduled)
                if (controller := self._controller(resource_id, config)) is not None:
                    controller.sample(self._clock.now)
                    self._aws.publish(controller.published, self._minute_starts_at)
                    running.append(controller)
            except (ValueError, KeyError) as error:  # an unsupported target must not stop the others
                _log.warning("%s is not scaled at %g s: %r", resource_id, self._clock.now, error)
        return running

    @property
    def _minute_starts_at(self) -> datetime:
        """The time of day, whatever the clock's factor: the last hour of a metric has all samples of it."""
        seconds = (self._clock.now - PERIOD_SECONDS) / self._clock.factor
        return self._started_at + timedelta(seconds=seconds)  # exactly a period apart, however late a round is

    def _sample_unscaled(self, scaled: set[str]) -> None:
        """Measure the endpoints that are no scalable targets, and publish their metrics; controllers do the others."""
        endpoints = {name: endpoint for name, endpoint in sagemaker.all_endpoints().items() if name not in scaled}
        for gone in self._unscaled.keys() - endpoints.keys():
            del self._unscaled[gone]
        for name, endpoint in endpoints.items():
            if (variant := endpoint.variant) is None:
                continue
            if name not in self._unscaled or self._unscaled[name].endpoint is not endpoint:
                factor = self._clock.factor
                self._unscaled[name] = EndpointVariant(endpoint, name, variant.config.variant_name, self._aws, factor)
            samples = list(endpoint_samples(name, variant.config.variant_name, self._unscaled[name].load()))
            for metric, value in samples:
                self._monitor.store.put(metric, value, self._clock.now - PERIOD_SECONDS, unit_of(metric.name))
            self._aws.publish(samples, self._minute_starts_at)

    def _run(self) -> None:
        while self._clock.next_minute(self._stopped):
            try:
                self.round()
            except (ClientError, BotoCoreError) as error:  # try again in the next minute
                _log.warning("no scaling at %g s: %r", self._clock.now, error)

    def _scheduled(self, action: ScheduledAction, target: ScalableTarget) -> None:
        self._aws.register(target)
        scaling.record_scheduled_action(target.resource_id, action)

    def _controller(self, resource_id: str, config: ScalingConfig) -> Controller | None:
        """Return the target's controller, a new one for a new endpoint, or None if the endpoint does not exist."""
        name, variant_name = endpoint_and_variant(resource_id)
        endpoint = sagemaker.find_endpoint(name)
        if endpoint is None:
            return None
        if resource_id in self._controllers:
            controller, variant = self._controllers[resource_id]
            if variant.endpoint is endpoint:
                controller.deploy(config)
                return controller
        variant = EndpointVariant(endpoint, name, variant_name, self._aws, self._clock.factor)
        controller = Controller(config, variant, self._monitor, self._scheduled, epoch=self._started_at)
        self._controllers[resource_id] = (controller, variant)
        return controller


class EndpointVariant:
    """The only variant of a running endpoint, as a ScalableVariant. `factor`: the speed of the controller's clock."""

    def __init__(self, endpoint: Endpoint, name: str, variant: str, aws: AwsApi, factor: float) -> None:
        self.endpoint = endpoint
        self._name = name
        self._variant = variant
        self._aws = aws
        self._factor = factor
        self._metrics: EndpointMetrics | None = None

    def load(self) -> EndpointLoad:
        """Return the current load. All instances run on this machine, so each has the machine's CPU use."""
        queue, variant = self.endpoint.queue, self.endpoint.variant
        instances = variant.in_service if variant else 0
        percent = psutil.cpu_percent(interval=None)
        return EndpointLoad(queue.size, queue.oldest_age * self._factor, (percent,) * instances, self._events())

    @property
    def desired(self) -> int:
        variant = self.endpoint.variant
        return variant.desired if variant else 0

    @property
    def settled(self) -> bool:
        """Whether the endpoint is InService; SageMaker refuses changes while it is Updating."""
        return self.endpoint.variant is not None and self.endpoint.record.endpoint_status == "InService"

    def apply(self, decision: Decision) -> None:
        """Request the decided instances. Record the scaling activity; SageMaker's refusal makes it a failed one."""
        bound = "minimum" if decision.desired > self.desired else "maximum"
        cause = f"{bound} capacity was set to {decision.desired}"
        if decision.policy:
            cause = f"monitor alarm {decision.alarm} in state ALARM triggered policy {decision.policy}"
        refusal = None
        try:
            self._aws.set_desired(self._name, self._variant, decision.desired)
        except ClientError as error:
            _log.warning("endpoint %s does not scale to %d: %s", self._name, decision.desired, error)
            refusal = str(error)
        resource_id = f"endpoint/{self._name}/variant/{self._variant}"
        scaling.begin_activity(resource_id, decision.desired, cause, refusal)

    def _events(self) -> dict[str, tuple[float, ...]]:
        """Return the events since the previous call, including those of a deployment that an update just replaced."""
        previous, variant = self._metrics, self.endpoint.variant
        self._metrics = variant.results.metrics if variant else None
        events = previous.take() if previous else {}
        if self._metrics and self._metrics is not previous:
            for name, values in self._metrics.take().items():
                events[name] = events.get(name, ()) + values
        # Durations are on the controller's clock.
        return {
            name: tuple(value * self._factor for value in values) if name in DURATIONS else values
            for name, values in events.items()
        }
