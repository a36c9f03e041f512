"""CloudFormation's side of a custom resource: one request at a time, patience for an hour, clean-up, roll-back."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from stage_model.answer import Answer
from staging_simulation.faults import Faults
from staging_simulation.lambda_service import LambdaService
from staging_simulation.model import PREFIX, request_of
from staging_simulation.scheduler import Scheduler

SERVICE_TIMEOUT_S = 3600.0


@dataclass
class Outcome:
    """What CloudFormation took note of: the answer, or None when it stopped waiting."""

    request_id: str
    kind: str
    answer: Answer | None
    cancelled: bool = False


@dataclass
class CloudFormation:
    """One stack with one `Custom::StagedModel`."""

    scheduler: Scheduler
    faults: Faults
    service: LambdaService
    answers: dict[str, list[Answer]] = field(default_factory=dict[str, list[Answer]])
    outcomes: list[Outcome] = field(default_factory=list[Outcome])
    live: str | None = None
    gave_up: bool = False  # clean-up or roll-back died again and again
    live_properties: dict[str, str] = field(default_factory=dict[str, str])

    def receive(self, event: Mapping[str, Any], answer: Answer) -> None:
        """Take an answer to the event's address."""
        self.answers.setdefault(event["RequestId"], []).append(answer)

    def play(self) -> None:
        """Live through a stack's history, as the seed has it."""
        draw = self.scheduler.random
        self.create(request_of(self._inputs()))
        for _ in range(draw.randrange(3)):
            if self.live is None:
                self.create(request_of(self._inputs()))
            else:
                self.update(request_of(self._inputs()))
        if draw.random() < 0.5 and self.live is not None:
            self._delete(self.live, self.live_properties)
            self.live = None

    def create(self, properties: dict[str, str]) -> None:
        """Create; on failure delete what is left, under the id that CloudFormation has or makes up."""
        outcome = self._ask("Create", properties, None)
        answer = outcome.answer
        if answer is not None and answer.reason is None:
            self.live, self.live_properties = answer.physical_id, properties
            return
        unknown = f"Stack-StagedModel-{self.scheduler.random.randrange(10**6)}"
        self._delete(answer.physical_id if answer is not None else unknown, properties)

    def update(self, properties: dict[str, str]) -> None:
        """Update; a new id makes the old one be deleted, a failure makes the old properties come back."""
        old, old_properties = self.live or "", self.live_properties
        answer = self._ask("Update", properties, old).answer
        if answer is not None and answer.reason is None:
            self.live, self.live_properties = answer.physical_id, properties
        else:
            rolled_back = self._until_success("Update", old_properties, old)
            if rolled_back is None:
                return  # UPDATE_ROLLBACK_FAILED: the stack stays with what it has
            self.live = rolled_back.physical_id
        if self.live != old:
            self._delete(old, old_properties)

    def _delete(self, physical_id: str, properties: dict[str, str]) -> None:
        self._until_success("Delete", properties, physical_id)

    def _until_success(self, kind: str, properties: dict[str, str], physical_id: str) -> Answer | None:
        for _ in range(5):  # people try again after DELETE_FAILED and UPDATE_ROLLBACK_FAILED
            answer = self._ask(kind, properties, physical_id).answer
            if answer is not None and answer.reason is None:
                return answer
        self.gave_up = True
        return None

    def _ask(self, kind: str, properties: dict[str, str], physical_id: str | None) -> Outcome:
        request_id = f"{kind}{len(self.outcomes)}"
        # Signed to the second; CloudFormation never makes two requests of a resource within one.
        self.scheduler.pause(1.0)
        signed = datetime.fromtimestamp(self.scheduler.time, UTC).strftime("%Y%m%dT%H%M%SZ")
        known = {"PhysicalResourceId": physical_id} if physical_id is not None else {}
        event: dict[str, Any] = {
            "ResponseURL": f"https://cloudformation.example/?X-Amz-Date={signed}",
            "RequestType": kind, "RequestId": request_id, "LogicalResourceId": "StagedModel", "StackId": "stack",
            "ResourceProperties": properties, **known,
        }  # fmt: skip
        draw = self.scheduler.random
        cancelled = kind == "Create" and not self.faults.calm and draw.random() < 0.25
        waits_until = self.scheduler.time + (draw.uniform(0, 60) if cancelled else SERVICE_TIMEOUT_S)
        self.scheduler.note(f"{kind} {request_id} of {properties['DecoderDtype']} {physical_id or ''}")
        self.service.invoke(event)
        while request_id not in self.answers and self.scheduler.time < waits_until:
            self.scheduler.pause(draw.uniform(0.1, 3))
        answer = self.answers[request_id][0] if request_id in self.answers else None
        outcome = Outcome(request_id, kind, answer, cancelled and answer is None)
        self.scheduler.note(f"{request_id} ended: {answer}")
        self.outcomes.append(outcome)
        return outcome

    def _inputs(self) -> dict[str, str]:
        draw = self.scheduler.random
        dtype, packaging = draw.choice(["float16", "float32"]), draw.choice(["tarball", "tarball", "uncompressed"])
        return {"DecoderDtype": dtype, "Packaging": packaging, "Revision": ("a" if draw.random() < 0.8 else "b") * 40}


def staged_keys(objects: Mapping[str, bytes]) -> set[str]:
    """Return the keys of a bucket, less the records of runs."""
    return {key for key in objects if not key.startswith(f"{PREFIX}runs/")}
