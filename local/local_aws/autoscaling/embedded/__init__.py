"""The controller in the embedded AWS: deployed alarms and policies scale the instances that really run."""

import atexit
import os

from local_aws import clients
from local_aws.autoscaling.embedded.pace import CLOCK_FACTOR, Pace
from local_aws.autoscaling.embedded.service import ScalingService


def install() -> None:
    """Starts the controller's thread, in the process that serves. Call once, after the data plane's `install`.

    The environment variable LOCAL_AWS_CLOCK_FACTOR says how fast its clock runs: 60 makes a minute of a second.
    """
    pace = Pace(float(os.environ.get(CLOCK_FACTOR, "1")))
    service = ScalingService(pace, clients.runtime().state / "scaling")
    service.start()
    atexit.register(service.stop)
