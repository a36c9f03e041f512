"""The walkthrough's look at scaling: down to zero by the deployed policies, and what happened over time."""

from __future__ import annotations

import time
from pathlib import Path

from local_aws.autoscaling.emulator import record
from local_aws.emulator.process import LocalAws
from local_aws.planner.timeline import draw, write
from local_aws.walkthrough.report import Report, StepFailed

CLOCK_FACTOR = 60.0  # a minute of alarms and policies takes a second
_TIMEOUT = 180.0  # seconds


def await_zero(aws: LocalAws, endpoint: str) -> None:
    """Wait until the endpoint has no instance; StepFailed, with the alarms' states, when it keeps one."""
    deadline = time.monotonic() + _TIMEOUT
    while not _at_zero(aws, endpoint):
        if time.monotonic() > deadline:
            alarms = record.read(_record(aws, endpoint))[-1].alarms
            raise StepFailed(f"the endpoint must reach 0 instances in {_TIMEOUT:.0f} s, its alarms are {alarms}")
        time.sleep(0.2)


def tell(aws: LocalAws, endpoint: str, report: Report, picture: Path) -> None:
    """Say what the policies decided, and write and draw backlog and instances over time."""
    minutes = record.read(_record(aws, endpoint))
    for minute in minutes:
        if minute.decision:
            report.say(f"minute {minute.at / 60:4.0f}  {minute.decision}")
    report.say(write(minutes))
    draw(minutes, picture, f"{endpoint} on the embedded AWS")
    report.say(f"picture  {picture}")


def _at_zero(aws: LocalAws, endpoint: str) -> bool:
    described = aws.client("sagemaker").describe_endpoint(EndpointName=endpoint)
    variant = described["ProductionVariants"][0]
    counts = variant["DesiredInstanceCount"], variant["CurrentInstanceCount"]
    return counts == (0, 0) and described["EndpointStatus"] == "InService"


def _record(aws: LocalAws, endpoint: str) -> Path:
    return record.path_of(aws.state_dir / record.FOLDER, endpoint)
