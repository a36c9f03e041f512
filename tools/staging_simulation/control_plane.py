"""Lambda and CloudFormation in memory, as a custom resource experiences them."""

import itertools
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from stage_model.custom_resource.lifecycle import Response
from staging_simulation.scheduler import Faults, Scheduler, Task
from staging_simulation.tiny_repository import PREFIX, properties_of

_MAX_EVENT_AGE_S = 1800.0  # as configured in the stack
_RETRIES = 2
_RESPONSE_TIMEOUT_S = 3600.0
# Physical ids under which a request may come that names no model, or none of this resource; None: without one.
FOREIGN_IDS = (f"{PREFIX}unstaged", "", None, "2026/01/31/[$LATEST]0123456789abcdef", f"{PREFIX}runs/", "../../etc")


class LambdaService:
    """Asynchronous invocations: at least once, late, concurrent, retried after a crash, ended at the timeout.

    `function` takes an event and its deadline in epoch seconds.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        faults: Faults,
        timeout_s: float,
        function: Callable[[Mapping[str, Any], float], None],
    ) -> None:
        self._scheduler, self._faults, self._timeout_s, self._function = scheduler, faults, timeout_s, function
        self._numbers = itertools.count(1)
        self.exhausted: set[str] = set()  # request ids whose last retry died

    def invoke(self, event: Mapping[str, Any]) -> None:
        """Accept an event, which is delivered once or more."""
        draw = self._scheduler.random
        accepted = self._scheduler.time
        self._deliver(event, accepted, draw.uniform(0, 1), _RETRIES)
        if draw.random() < self._faults.duplicates:
            self._deliver(event, accepted, draw.choice([0.0, 1.0, 30.0, 90.0, 400.0, 1500.0]) * draw.random(), _RETRIES)

    def _deliver(self, event: Mapping[str, Any], accepted: float, delay: float, retries: int) -> None:
        deadline = self._scheduler.time + delay + self._timeout_s
        number = next(self._numbers)
        request = str(event["RequestId"])
        run = self._scheduler.spawn(f"run{number}:{request}", lambda: self._function(event, deadline), delay)
        self._scheduler.spawn(f"watch{number}", lambda: self._watch(run, deadline, event, accepted, retries), delay)

    def _watch(self, run: Task, deadline: float, event: Mapping[str, Any], accepted: float, retries: int) -> None:
        while not run.run.dead and not run.dead and self._scheduler.time < deadline:
            self._scheduler.pause(min(5.0, max(0.01, deadline - self._scheduler.time)))
        if run.run.dead and run.error is None and not run.dead:
            return
        self._scheduler.note(f"{run.name} failed: {run.error!r}")
        self._scheduler.kill(run)
        delay = self._scheduler.random.uniform(50, 130)
        if retries == 0 or self._scheduler.time + delay - accepted > _MAX_EVENT_AGE_S:
            self.exhausted.add(str(event["RequestId"]))
            return
        self._deliver(event, accepted, delay, retries - 1)


@dataclass
class Outcome:
    """The result of a request: the response, or None if CloudFormation stopped waiting.

    `excused` if it may have no response, or must fail: cancelled, never delivered, or with invalid properties.
    """

    request_id: str
    kind: str
    physical_id: str | None
    issued: float
    response: Response | None
    excused: bool = False


class Histories:
    """Which unusual things users and CloudFormation do; drawn apart, so that the other draws of a seed stay the same.

    `no_rollback`: failed Creates are repeated, and cleaned up only after one has succeeded. `foreign`: requests come
    whose physical id is no model. `cancels_updates`: users cancel Updates too.
    """

    def __init__(self, seed: int) -> None:
        self.random = random.Random(f"histories of {seed}")
        usual = self.random.random() < 0.6
        self.no_rollback, self.foreign, self.cancels_updates = (
            not usual and self.random.random() < 0.6 for _ in range(3)
        )

    def chance(self, odds: float) -> bool:
        return self.random.random() < odds


@dataclass
class CloudFormation:
    """One stack with one `Custom::StagedModel`: one request at a time, an hour's wait, clean-up and rollback."""

    scheduler: Scheduler
    faults: Faults
    service: LambdaService
    histories: Histories
    on_outcome: Callable[[Outcome], None]
    responses: dict[str, list[Response]] = field(default_factory=dict[str, list[Response]])
    outcomes: list[Outcome] = field(default_factory=list[Outcome])
    live: str | None = None
    gave_up: bool = False  # clean-up or rollback never succeeded
    live_properties: dict[str, str] = field(default_factory=dict[str, str])

    def receive(self, event: Mapping[str, Any], response: Response) -> None:
        self.responses.setdefault(event["RequestId"], []).append(response)

    def run(self) -> None:
        """Run a random sequence of stack operations."""
        draw = self.scheduler.random
        self.create(properties_of(self._random_inputs()))
        for _ in range(draw.randrange(3)):
            if self.live is None:
                self.create(properties_of(self._random_inputs()))
            else:
                self.update(properties_of(self._random_inputs()))
            if self.histories.foreign and self.live is not None:
                self._foreign_request()
        if self.histories.foreign and self.live is not None:
            self._foreign_request()
        if draw.random() < 0.5 and self.live is not None:
            self._until_success("Delete", self.live_properties, self.live)
            self.live = None

    def create(self, properties: dict[str, str]) -> None:
        """Create; on failure delete, under the response's id or one that CloudFormation invents.

        Without rollback the failed resource stays until a repeated Create has replaced it.
        """
        failed: list[tuple[dict[str, str], str]] = []
        if self.histories.no_rollback and self.histories.chance(0.4):
            failed.append(self._fail_to_create(properties))
        while True:
            response = self._request("Create", properties, None).response
            if response is not None and response.reason is None:
                self.live, self.live_properties = response.physical_id, properties
                break
            failed.append((properties, self._failed_id(response)))
            if not self.histories.no_rollback or len(failed) >= 3:
                break
            if self.histories.chance(0.5):
                properties = properties_of(self._random_inputs())
        for old_properties, physical_id in failed:
            self._until_success("Delete", old_properties, physical_id)

    def _fail_to_create(self, properties: dict[str, str]) -> tuple[dict[str, str], str]:
        """Create with an invalid property, or without the event ever being delivered; return what failed."""
        if self.histories.chance(0.5):
            properties = {**properties, "Revision": "main"}
            return properties, self._failed_id(self._request("Create", properties, None, excused=True).response)
        return properties, self._failed_id(self._request("Create", properties, None, delivered=False).response)

    def _failed_id(self, response: Response | None) -> str:
        invented = f"Stack-StagedModel-{self.scheduler.random.randrange(10**6)}"
        return response.physical_id if response is not None else invented

    def _foreign_request(self) -> None:
        """Delete or update a resource that is recorded under an id of no model, and clean up what an Update staged."""
        draw = self.histories.random
        physical_id = draw.choice(FOREIGN_IDS)
        if draw.random() < 0.5:
            self._until_success("Delete", self.live_properties, physical_id)
            return
        properties = properties_of(self._random_inputs())
        response = self._request("Update", properties, physical_id).response
        if response is None or response.reason is not None:
            self._until_success("Delete", properties, physical_id)
        elif response.physical_id != self.live:
            self._until_success("Delete", properties, response.physical_id)

    def update(self, properties: dict[str, str]) -> None:
        """Update; delete the old id if it changed, roll back to the old properties on failure."""
        old, old_properties = self.live or "", self.live_properties
        response = self._request("Update", properties, old).response
        if response is not None and response.reason is None:
            self.live, self.live_properties = response.physical_id, properties
        else:
            rolled_back = self._until_success("Update", old_properties, old)
            if rolled_back is None:
                return  # UPDATE_ROLLBACK_FAILED: the stack keeps its state
            self.live = rolled_back.physical_id
        if self.live != old:
            self._until_success("Delete", old_properties, old)

    def _until_success(self, kind: str, properties: dict[str, str], physical_id: str | None) -> Response | None:
        for _ in range(5):  # users retry after DELETE_FAILED and UPDATE_ROLLBACK_FAILED
            response = self._request(kind, properties, physical_id).response
            if response is not None and response.reason is None:
                return response
        self.gave_up = True
        return None

    def _request(
        self,
        kind: str,
        properties: dict[str, str],
        physical_id: str | None,
        *,
        delivered: bool = True,
        excused: bool = False,
    ) -> Outcome:
        request_id = f"{kind}{len(self.outcomes)}"
        # Signatures have a resolution of one second, and requests for one resource are further apart.
        self.scheduler.pause(1.0)
        issued = float(int(self.scheduler.time))
        signed = datetime.fromtimestamp(self.scheduler.time, UTC).strftime("%Y%m%dT%H%M%SZ")
        physical = {"PhysicalResourceId": physical_id} if physical_id is not None else {}
        event: dict[str, Any] = {
            "ResponseURL": f"https://cloudformation.example/?X-Amz-Date={signed}",
            "RequestType": kind, "RequestId": request_id, "LogicalResourceId": "StagedModel", "StackId": "stack",
            "ResourceProperties": properties, **physical,
        }  # fmt: skip
        draw = self.scheduler.random
        cancelled = kind == "Create" and not self.faults.none and draw.random() < 0.25
        if kind == "Update" and self.histories.cancels_updates and not self.faults.none:
            cancelled = self.histories.chance(0.25)
        waits_until = self.scheduler.time + (draw.uniform(0, 60) if cancelled else _RESPONSE_TIMEOUT_S)
        self.scheduler.note(f"{kind} {request_id} of {properties['DecoderDtype']} {physical_id or ''}")
        if delivered:
            self.service.invoke(event)
        while request_id not in self.responses and self.scheduler.time < waits_until:
            self.scheduler.pause(draw.uniform(0.1, 3))
        response = self.responses[request_id][0] if request_id in self.responses else None
        excused = excused or not delivered or (cancelled and response is None)
        outcome = Outcome(request_id, kind, physical_id, issued, response, excused)
        self.scheduler.note(f"{request_id} ended: {response}")
        self.outcomes.append(outcome)
        self.on_outcome(outcome)
        return outcome

    def _random_inputs(self) -> dict[str, str]:
        draw = self.scheduler.random
        dtype, packaging = draw.choice(["float16", "float32"]), draw.choice(["tarball", "tarball", "uncompressed"])
        return {"DecoderDtype": dtype, "Packaging": packaging, "Revision": ("a" if draw.random() < 0.8 else "b") * 40}
