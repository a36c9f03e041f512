"""The thread that scales the running endpoints: one round over all scalable targets per minute of its clock."""

import atexit
import logging
import os
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
from botocore.exceptions import BotoCoreError, ClientError

from local_aws import sagemaker
from local_aws.autoscaling.live import scaling_history
from local_aws.autoscaling.live.accelerated_clock import CLOCK_FACTOR, AcceleratedClock
from local_aws.autoscaling.live.aws_client import AwsApi
from local_aws.autoscaling.rules.alarms import AlarmEvaluator
from local_aws.autoscaling.rules.autoscaler import Decision
from local_aws.autoscaling.rules.controller import PERIOD_SECONDS, Controller, Minute
from local_aws.autoscaling.rules.endpoint_metrics import DURATIONS, EndpointLoad
from local_aws.autoscaling.rules.scaling_config import Description, ScalingConfig, endpoint_and_variant
from local_aws.emulator import clients
from local_aws.emulator.operations import scaling
from local_aws.sagemaker.endpoint import Endpoint
from local_aws.sagemaker.results import EndpointMetrics

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
        self._alarm_descriptions: dict[str, Description] = {}
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
        if not targets:
            return
        policies, alarms, actions = self._aws.policies(), self._aws.alarms(), self._aws.scheduled_actions()
        self._alarm_descriptions = {alarm["AlarmName"]: alarm for alarm in alarms}
        # Samples carry the time of day, whatever the clock's factor: the last hour of a metric has all of them.
        starts_at = datetime.now(UTC) - timedelta(seconds=PERIOD_SECONDS / self._clock.factor)
        for resource_id, target in targets.items():
            scheduled = [action for action in actions if action["ResourceId"] == resource_id]
            try:
                config = ScalingConfig.of(target, policies, alarms, scheduled)
                if (controller := self._controller(resource_id, config)) is not None:
                    minute = self._tick(resource_id, controller, config)
                    self._aws.publish(minute.published, starts_at)
                    scaling_history.append(scaling_history.path_of(self._folder, controller.endpoint), minute)
            except (ValueError, KeyError) as error:  # an unsupported target must not stop the others
                _log.warning("%s is not scaled at %g s: %r", resource_id, self._clock.now, error)

    def _tick(self, resource_id: str, controller: Controller, config: ScalingConfig) -> Minute:
        """Process the minute, and record what Application Auto Scaling calls scaling activities."""
        _, variant = self._controllers[resource_id]
        if variant.settled:
            scaling.complete_activities(resource_id)
        minute = controller.tick(self._clock.now)
        if minute.decision:
            cause = _cause(minute.decision, minute, config)
            scaling.begin_activity(resource_id, minute.decision.desired, cause, variant.refusal)
        return minute

    def _run(self) -> None:
        while self._clock.next_minute(self._stopped):
            try:
                self.round()
            except (ClientError, BotoCoreError) as error:  # try again in the next minute
                _log.warning("no scaling at %g s: %r", self._clock.now, error)

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
        controller = Controller(config, variant, self._on_alarm_change, self._aws.register, epoch=self._started_at)
        self._controllers[resource_id] = (controller, variant)
        return controller

    def _on_alarm_change(self, alarm: AlarmEvaluator) -> None:
        self._aws.set_alarm_state(self._alarm_descriptions[alarm.definition.name], alarm, datetime.now(UTC))


def _cause(decision: Decision, minute: Minute, config: ScalingConfig) -> str:
    """Return the activity's cause in Application Auto Scaling's words."""
    name = decision.reason.rpartition(": ")[0]
    policy = next((item for item in config.policies if item.name == name), None)
    if policy is None:
        return f"scheduled action set the bounds {config.target.min_capacity} to {config.target.max_capacity}"
    triggers = [
        alarm.name for alarm in config.alarms if any(policy.arn in arns for arns in alarm.actions.values())
    ] or [alarm for alarm in minute.alarms if name in alarm]
    active = next((alarm for alarm in triggers if minute.alarms.get(alarm) == "ALARM"), name)
    return f"monitor alarm {active} in state ALARM triggered policy {name}"


class EndpointVariant:
    """The only variant of a running endpoint, as a ScalableVariant. `factor`: the speed of the controller's clock."""

    def __init__(self, endpoint: Endpoint, name: str, variant: str, aws: AwsApi, factor: float) -> None:
        self.endpoint = endpoint
        self._name = name
        self._variant = variant
        self._aws = aws
        self._factor = factor
        self._metrics: EndpointMetrics | None = None
        self.refusal: str | None = None  # SageMaker's message about the last requested count, if it refused that

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

    def set_desired(self, count: int) -> None:
        """Request `count` instances. Log a refusal, as a failed scaling activity on AWS."""
        self.refusal = None
        try:
            self._aws.set_desired(self._name, self._variant, count)
        except ClientError as error:
            self.refusal = str(error)
            _log.warning("endpoint %s does not scale to %d: %s", self._name, count, error)

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
