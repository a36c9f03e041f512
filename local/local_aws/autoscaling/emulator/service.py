"""The controller's thread: each minute of its clock, one round over all scalable targets."""

import atexit
import logging
import os
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

from botocore.exceptions import BotoCoreError, ClientError

from local_aws import sagemaker
from local_aws.autoscaling.alarms import AlarmWatch
from local_aws.autoscaling.controller import PERIOD_SECONDS, Controller
from local_aws.autoscaling.definitions import Described, endpoint_and_variant
from local_aws.autoscaling.emulator import record
from local_aws.autoscaling.emulator.announcements import message, reason_of
from local_aws.autoscaling.emulator.cloud import Cloud
from local_aws.autoscaling.emulator.live_variant import LiveVariant
from local_aws.autoscaling.emulator.pace import CLOCK_FACTOR, Pace
from local_aws.autoscaling.scaling import Scaling
from local_aws.emulator import clients

_log = logging.getLogger(__name__)
_JOIN_SECONDS = 1.0  # a call under way may hang while the server ends, and has nobody left to tell


def install() -> None:
    """Starts the controller, in the process that serves. Call once, after the data plane's `install`.

    The environment variable LOCAL_AWS_CLOCK_FACTOR says how fast its clock runs: 60 makes a minute of a second.
    """
    pace = Pace(float(os.environ.get(CLOCK_FACTOR, "1")))
    service = ScalingService(pace, clients.runtime().state / record.FOLDER)
    service.start()
    atexit.register(service.stop)


class ScalingService:
    """Runs a Controller for each scalable target whose endpoint exists. `folder` receives their records."""

    def __init__(self, pace: Pace, folder: Path) -> None:
        self._pace = pace
        self._folder = folder
        self._cloud = Cloud()
        self._began = datetime.now(UTC)
        self._controllers: dict[str, tuple[Controller, LiveVariant]] = {}
        self._described: dict[str, Described] = {}
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name="scaling")

    def start(self) -> None:
        """Begins with the first minute."""
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread at the end of its round; does not wait for a round that hangs."""
        self._stopped.set()
        self._thread.join(_JOIN_SECONDS)

    def round(self) -> None:
        """One minute's work, which ends at the clock's `now`."""
        targets = {target["ResourceId"]: target for target in self._cloud.targets()}
        for gone in self._controllers.keys() - targets.keys():
            del self._controllers[gone]
        if not targets:
            return
        policies, alarms, actions = self._cloud.policies(), self._cloud.alarms(), self._cloud.scheduled_actions()
        self._described = {alarm["AlarmName"]: alarm for alarm in alarms}
        for resource_id, target in targets.items():
            scheduled = [action for action in actions if action["ResourceId"] == resource_id]
            try:
                self._tick(resource_id, Scaling.of(target, policies, alarms, scheduled))
            except (ValueError, KeyError) as error:  # one that cannot be evaluated must not stop the others
                _log.warning("%s is not scaled at %g s: %r", resource_id, self._pace.now, error)

    def _run(self) -> None:
        while self._pace.next_minute(self._stopped):
            try:
                self.round()
            except (ClientError, BotoCoreError) as error:  # the next minute may be better
                _log.warning("no scaling at %g s: %r", self._pace.now, error)

    def _tick(self, resource_id: str, scaling: Scaling) -> None:
        controller = self._controller(resource_id, scaling)
        if controller is None:
            return
        minute = controller.tick(self._pace.now)
        self._cloud.publish(minute.published, self._began + timedelta(seconds=self._pace.now - PERIOD_SECONDS))
        record.append(record.path_of(self._folder, controller.endpoint), minute)

    def _controller(self, resource_id: str, scaling: Scaling) -> Controller | None:
        """The target's controller, new for an endpoint that is new; None where no endpoint has that name."""
        name, variant = endpoint_and_variant(resource_id)
        endpoint = sagemaker.find_endpoint(name)
        if endpoint is None:
            return None
        if resource_id in self._controllers and self._controllers[resource_id][1].endpoint is endpoint:
            controller = self._controllers[resource_id][0]
            controller.deploy(scaling)
            return controller
        live = LiveVariant(endpoint, name, variant, self._cloud, self._pace.factor)
        controller = Controller(scaling, live, self._announce, self._cloud.register, epoch=self._began)
        self._controllers[resource_id] = (controller, live)
        return controller

    def _announce(self, watch: AlarmWatch) -> None:
        """Shows a new state in DescribeAlarms and tells the topics among the state's actions."""
        described = self._described[watch.alarm.name]
        before = str(described.get("StateValue"))
        self._cloud.set_state(watch.alarm.name, watch.state, reason_of(watch))
        now = datetime.now(UTC)
        for arn in watch.actions:
            if arn.split(":")[2:3] == ["sns"]:
                subject = f'{watch.state}: "{watch.alarm.name}"'
                self._cloud.notify(arn, message(described, watch, before, now), subject)
