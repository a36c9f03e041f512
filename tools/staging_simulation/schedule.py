"""One seeded schedule: the history of a stack under faults, and the invariants that must hold at its end."""

import json
import math
import random
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stage_model.archive.staging_plan import collect_inputs
from stage_model.custom_resource.earlier_requests import CLOCK_MARGIN_S
from stage_model.custom_resource.lifecycle import Invocation, Response, serve
from stage_model.custom_resource.run_record import RESPONSE_TIMEOUT_S, RunRecord, parse_record
from stage_model.request import StagedModelRequest
from stage_model.retry import RetryBudget
from stage_model.upload import hashing
from stage_model.upload.pipeline import PipelineSteps, Result, Task, raise_most_severe
from stage_model.upload.stager import StagedModel, StagingContext, stage
from staging_simulation.control_plane import CloudFormation, Histories, LambdaService, Outcome
from staging_simulation.memory_store import MemoryStore
from staging_simulation.scheduler import Faults, Scheduler, VirtualClock
from staging_simulation.tiny_repository import BUNDLE, LIMITS, PREFIX, MemoryHub, expected_objects


class ShuffledPipeline:
    """Runs the steps that threads would run concurrently one at a time, in random order."""

    def __init__(self, scheduler: Scheduler, threads: int) -> None:
        self._scheduler, self._threads = scheduler, threads

    def run(self, tasks: Sequence[Task], steps: PipelineSteps[Task, Result], buffer_size: int) -> None:
        built: dict[int, Result] = {}
        to_upload: list[int] = []
        started = hashed = 0
        while hashed < len(tasks) or to_upload:
            choices = ["build"] if started < len(tasks) and started - hashed + len(to_upload) < self._threads else []
            choices += ["hash"] if hashed in built else []
            choices += ["upload"] if to_upload else []
            choice = self._scheduler.random.choice(choices)
            try:
                if choice == "build":
                    built[started] = steps.build(tasks[started], memoryview(bytearray(buffer_size)))
                    started += 1
                elif choice == "hash":
                    steps.hash(tasks[hashed], built[hashed])
                    to_upload.append(hashed)
                    hashed += 1
                else:
                    index = to_upload.pop(self._scheduler.random.randrange(len(to_upload)))
                    steps.upload(tasks[index], built.pop(index))
            except Exception as error:
                raise_most_severe([error])


class Violation(AssertionError):
    """An invariant does not hold at the end of a schedule."""


class Schedule:
    """Everything that one seed determines."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.scheduler = Scheduler(seed)
        self.faults = Faults(self.scheduler)
        self.clock = VirtualClock(self.scheduler)
        self.store = MemoryStore(self.scheduler, self.faults)
        self.lossy = self.scheduler.random.random() < 0.3
        timeout_s = self.scheduler.random.choice([150.0, 300.0, 900.0])
        self.service = LambdaService(self.scheduler, self.faults, timeout_s, self._invoke)
        self.cloudformation = CloudFormation(
            self.scheduler, self.faults, self.service, Histories(seed), self._check_live_model
        )

    def run(self) -> None:
        random.seed(self.seed)  # the jitter of retries
        exportable = hashing.EXPORTABLE
        hashing.EXPORTABLE = exportable and self.faults.exportable
        try:
            stack = self.scheduler.spawn("cloudformation", self.cloudformation.run)
            self.scheduler.run()
            if stack.error is not None:
                raise stack.error
            self._check()
        finally:
            hashing.EXPORTABLE = exportable

    def _invoke(self, event: Mapping[str, Any], deadline: float) -> None:
        draw = self.scheduler.random
        work = RetryBudget(self.clock, deadline - draw.choice([5.0, 20.0]))
        owner = str(uuid.UUID(int=draw.getrandbits(128)))
        serve(event, Invocation(owner, work, RetryBudget(self.clock, deadline - 1), SimulatedEnvironment(self)))

    def _check_live_model(self, outcome: Outcome) -> None:
        """Require, after each request that does not delete it by name, that CloudFormation's model exists."""
        live = self.cloudformation.live
        if live is not None and (outcome.kind, outcome.physical_id) != ("Delete", live):
            expected = self._expected()
            held = {key: self.store.objects.get(key) for key in expected}
            self._require(held == expected, f"after {outcome.request_id} the live model {live} must exist")

    def _expected(self) -> dict[str, bytes]:
        """Return the objects of the model that CloudFormation holds."""
        if self.cloudformation.live is None:
            return {}
        live = self.cloudformation.live_properties
        return expected_objects(live["Packaging"], live["DecoderDtype"], live["Revision"], self.lossy)

    def _check(self) -> None:
        staged = {key: data for key, data in self.store.objects.items() if not key.startswith(f"{PREFIX}runs/")}
        expected = self._expected()
        exhausted = self.cloudformation.outcomes[-1].request_id in self.service.exhausted
        if exhausted or self.cloudformation.gave_up:
            # A request whose every retry died leaves objects behind; the live model must be correct nevertheless.
            staged = {key: data for key, data in staged.items() if key in expected}
        on_their_way = tuple(self._models_on_their_way())
        staged = {key: data for key, data in staged.items() if key in expected or not key.startswith(on_their_way)}
        self._require(staged.keys() == expected.keys(), f"keys must be {sorted(expected)}, got {sorted(staged)}")
        self._require(staged == expected, "the staged bytes must be the expected ones")
        self._check_records()
        for outcome in self.cloudformation.outcomes:
            request_id = outcome.request_id
            responses = self.cloudformation.responses.get(request_id, [])
            unequal = any(response != responses[0] for response in responses)
            self._require(not unequal, f"{request_id} must have one response: {responses}")
            excused = outcome.excused or request_id in self.service.exhausted
            self._require(outcome.response is not None or excused, f"{request_id} must have a response")
            if self.faults.none and not outcome.excused:
                good = outcome.response is not None and outcome.response.reason is None and len(responses) == 1
                self._require(good, f"without faults {request_id} must succeed once, got {responses}")

    def _models_on_their_way(self) -> list[str]:
        """Return the models whose response could already be sent when CloudFormation gave up: it may have known them.

        Whatever was decided later must have been deleted. That CloudFormation gave up shows in the record of a later
        request, unless its event was delayed until the last request had cleaned up.
        """
        records = {record.request_id: record for record in self._records().values()}
        outcomes, found = self.cloudformation.outcomes, list[str]()
        last = records.get(outcomes[-1].request_id)
        end = last.finished if last is not None and last.finished is not None else math.inf
        for index, outcome in enumerate(outcomes[:-1]):
            record = records.get(outcome.request_id)
            if outcome.response is None and record is not None and record.finished is not None:
                later = [records.get(other.request_id) for other in outcomes[index + 1 :]]
                seen = [other.issued for other in later if other is not None and other.started <= end]
                answer, gave_up = record.answer or {}, min([outcome.issued + RESPONSE_TIMEOUT_S, *seen])
                if answer.get("data") and record.finished <= gave_up + CLOCK_MARGIN_S:
                    found.append(answer["physical_id"])
        return found

    def _records(self) -> dict[str, RunRecord]:
        objects = self.store.objects.items()
        return {key: parse_record(data) for key, data in objects if key.startswith(f"{PREFIX}runs/")}

    def _check_records(self) -> None:
        """Require that no record's uploads are left; a lifecycle rule ends those that a killed run could not record.

        What a request leaves is ended by the next one that succeeds, so it is excused if all later ones died.
        """
        uploads, records = self.store.uploads, self._records()
        self._require(not uploads or not self.faults.none, f"uploads are left without faults: {uploads}")
        for key, record in records.items():
            excused = record.request_id in self.service.exhausted
            self._require(record.state != "running" or excused, f"{key} must have ended, got {record.state}")
            later = [other for other in records.values() if other.issued > record.issued]
            excused |= bool(later) and all(other.request_id in self.service.exhausted for other in later)
            left = [upload for _, upload in (record.journal or {}).get("uploads", []) if upload in uploads]
            self._require(not left or excused, f"uploads in {key} are left: {left}")

    def _require(self, condition: bool, message: str) -> None:
        if not condition:
            raise Violation(f"seed {self.seed}: {message}")


@dataclass(frozen=True)
class SimulatedEnvironment:
    """The services of one invocation; see `Environment`."""

    schedule: Schedule

    def open_store(self, bucket: str) -> MemoryStore:
        return self.schedule.store  # the only bucket

    def stage(self, request: StagedModelRequest, context: StagingContext) -> StagedModel:
        faults, scheduler = self.schedule.faults, self.schedule.scheduler
        corrupt = faults.corrupt_source and request.revision.startswith("b")
        inputs = collect_inputs(request, MemoryHub(self.schedule.lossy, faults, corrupt), BUNDLE, LIMITS)
        threads = scheduler.random.choice([1, 2, 4])
        return stage(inputs, context, ShuffledPipeline(scheduler, threads))

    def respond(self, event: Mapping[str, Any], response: Response) -> None:
        self.schedule.faults.transmit()
        self.schedule.cloudformation.receive(event, response)
        self.schedule.faults.transmit()

    def continue_in_new_invocation(self, event: Mapping[str, Any]) -> None:
        self.schedule.faults.transmit()
        self.schedule.scheduler.note("continues in a new invocation")
        self.schedule.service.invoke(event)


def violations(seeds: range) -> list[str]:
    """Run schedules in sequence; return the violations and how to reproduce them."""
    found: list[str] = []
    for seed in seeds:
        try:
            Schedule(seed).run()
        except Violation as error:
            found.append(f"{error}\nreproduce: python -m staging_simulation --seed {seed}")
    return found


def describe(seed: int) -> str:
    schedule = Schedule(seed)
    try:
        schedule.run()
        result = "passed"
    except Violation as error:
        result = f"VIOLATION: {error}"
    records = {key: json.loads(data) for key, data in schedule.store.objects.items() if "/runs/" in key}
    states = "\n".join(f"{key}: {record['state']}" for key, record in records.items())
    return "\n".join([*schedule.scheduler.trace, states, result])
