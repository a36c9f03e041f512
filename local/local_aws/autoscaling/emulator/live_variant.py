"""A running endpoint as the controller sees it."""

import logging

import psutil
from botocore.exceptions import ClientError

from local_aws.autoscaling.emulator.cloud import Cloud
from local_aws.autoscaling.endpoint_metrics import DURATIONS, Load
from local_aws.sagemaker.endpoint import Endpoint
from local_aws.sagemaker.results import EndpointMetrics

_log = logging.getLogger(__name__)


class LiveVariant:
    """The one variant of an endpoint of the data plane. `factor`: how fast the controller's clock runs."""

    def __init__(self, endpoint: Endpoint, name: str, variant: str, cloud: Cloud, factor: float) -> None:
        self.endpoint = endpoint
        self._name = name
        self._variant = variant
        self._cloud = cloud
        self._factor = factor
        self._metrics: EndpointMetrics | None = None

    def load(self) -> Load:
        """The endpoint now. All instances run on this machine, so its CPU use is the CPU use of each."""
        queue, variant = self.endpoint.queue, self.endpoint.variant
        instances = variant.in_service if variant else 0
        percent = psutil.cpu_percent(interval=None)
        age = queue.oldest_age * self._factor
        return Load(queue.size, age, (percent,) * instances, self._events())

    @property
    def desired(self) -> int:
        """The instance count last asked for."""
        variant = self.endpoint.variant
        return variant.desired if variant else 0

    @property
    def settled(self) -> bool:
        """Whether the endpoint is in service: with SageMaker's status Updating it takes no change."""
        return self.endpoint.variant is not None and self.endpoint.record.endpoint_status == "InService"

    def set_desired(self, count: int) -> None:
        """Asks by the API; a refusal is logged, as a failed scaling activity is on AWS."""
        try:
            self._cloud.set_desired(self._name, self._variant, count)
        except ClientError as error:
            _log.warning("endpoint %s does not scale to %d: %s", self._name, count, error)

    def _events(self) -> dict[str, tuple[float, ...]]:
        """What happened since the call before, on this deployment and, after an update, at the end of the last one."""
        before, variant = self._metrics, self.endpoint.variant
        self._metrics = variant.results.metrics if variant else None
        events = before.take() if before else {}
        if self._metrics and self._metrics is not before:
            for name, values in self._metrics.take().items():
                events[name] = events.get(name, ()) + values
        return {name: self._in_its_time(name, values) for name, values in events.items()}

    def _in_its_time(self, name: str, values: tuple[float, ...]) -> tuple[float, ...]:
        """Durations on the controller's clock; all else as it is."""
        return tuple(value * self._factor for value in values) if name in DURATIONS else values
