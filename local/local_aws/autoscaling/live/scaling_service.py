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
from local_aws.autoscaling.rules.controller import PERIOD_SECONDS, Controller
from local_aws.autoscaling.rules.endpoint_metrics import DURATIONS, EndpointLoad, endpoint_samples
from local_aws.autoscaling.rules.scaling_config import Description, ScalingConfig, endpoint_and_variant
from local_aws.emulator import clients
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
        self._unscaled: dict[str, EndpointVariant] = {}
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
        starts_at = self._started_at + timedelta(seconds=self._clock.now - PERIOD_SECONDS)
        self._publish_unscaled({endpoint_and_variant(resource_id)[0] for resource_id in targets}, starts_at)
        if not targets:
            return
        policies, alarms, actions = self._aws.policies(), self._aws.alarms(), self._aws.scheduled_actions()
        self._alarm_descriptions = {alarm["AlarmName"]: alarm for alarm in alarms}
        for resource_id, target in targets.items():
            scheduled = [action for action in actions if action["ResourceId"] == resource_id]
            try:
                config = ScalingConfig.of(target, policies, alarms, scheduled)
                if (controller := self._controller(resource_id, config)) is not None:
                    minute = controller.tick(self._clock.now)
                    self._aws.publish(minute.published, starts_at)
                    scaling_history.append(scaling_history.path_of(self._folder, controller.endpoint), minute)
            except (ValueError, KeyError) as error:  # an unsupported target must not stop the others
                _log.warning("%s is not scaled at %g s: %r", resource_id, self._clock.now, error)

    def _publish_unscaled(self, scaled: set[str], starts_at: datetime) -> None:
        """Publish the metrics of the endpoints that are no scalable targets; controllers publish the others'."""
        endpoints = {name: endpoint for name, endpoint in sagemaker.all_endpoints().items() if name not in scaled}
        for gone in self._unscaled.keys() - endpoints.keys():
            del self._unscaled[gone]
        for name, endpoint in endpoints.items():
            if (variant := endpoint.variant) is None:
                continue
            if name not in self._unscaled or self._unscaled[name].endpoint is not endpoint:
                factor = self._clock.factor
                self._unscaled[name] = EndpointVariant(endpoint, name, variant.config.variant_name, self._aws, factor)
            samples = endpoint_samples(name, variant.config.variant_name, self._unscaled[name].load())
            self._aws.publish(samples, starts_at)

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

    def set_desired(self, count: int) -> None:
        """Request `count` instances. Log a refusal, as a failed scaling activity on AWS."""
        try:
            self._aws.set_desired(self._name, self._variant, count)
        except ClientError as error:
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
