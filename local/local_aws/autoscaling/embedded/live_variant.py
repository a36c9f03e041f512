"""A running endpoint as the controller sees it."""

import logging
from collections import Counter

import psutil
from botocore.exceptions import ClientError

from local_aws.autoscaling.embedded.cloud import Cloud
from local_aws.autoscaling.endpoint_metrics import Load
from local_aws.data_plane.endpoint import Endpoint
from local_aws.data_plane.tally import Tally

_log = logging.getLogger(__name__)


class LiveVariant:
    """The one variant of an endpoint of the data plane. `factor`: how fast the controller's clock runs."""

    def __init__(self, endpoint: Endpoint, name: str, variant: str, cloud: Cloud, factor: float) -> None:
        self.endpoint = endpoint
        self._name = name
        self._variant = variant
        self._cloud = cloud
        self._factor = factor
        self._counted: tuple[Tally | None, Counter[str]] = (None, Counter())

    def load(self) -> Load:
        """The endpoint now. All instances run on this machine, so its CPU use is the CPU use of each."""
        backlog, live = self.endpoint.backlog, self.endpoint.live
        instances = live.fleet.in_service if live else 0
        percent = psutil.cpu_percent(interval=None)
        age = backlog.oldest_age * self._factor
        return Load(backlog.size, age, (percent,) * instances, self._new_counts())

    @property
    def desired(self) -> int:
        """The instance count last asked for."""
        live = self.endpoint.live
        return live.fleet.desired if live else 0

    @property
    def settled(self) -> bool:
        """Whether the endpoint is in service: with SageMaker's status Updating it takes no change."""
        return self.endpoint.live is not None and self.endpoint.record.endpoint_status == "InService"

    def set_desired(self, count: int) -> None:
        """Asks by the API; a refusal is logged, as a failed scaling activity is on AWS."""
        try:
            self._cloud.set_desired(self._name, self._variant, count)
        except ClientError as error:
            _log.warning("endpoint %s does not scale to %d: %s", self._name, count, error)

    def _new_counts(self) -> dict[str, float]:
        """What was counted since the call before; a new deployment counts from zero."""
        if self.endpoint.live is None:
            return {}
        tally = self.endpoint.live.answers.tally
        counts, (last, before) = tally.counts(), self._counted
        self._counted = (tally, counts)
        return {name: float(count) for name, count in (counts - before if tally is last else counts).items()}
