"""One seeded schedule: a stack's history under faults, and what must hold at its end."""

import json
import random
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from stage_model import running_sha256
from stage_model.answer import Answer
from stage_model.gather import gather
from stage_model.lease import Lease
from stage_model.lifecycle import StageRequest
from stage_model.patience import Patience
from stage_model.pipeline import Job, Made, Steps, raise_gravest
from stage_model.request import StagedModelRequest
from stage_model.run_record import parse_record
from stage_model.service import Invocation, serve
from stage_model.stager import Means, Staged, stage
from stage_model.store import Store
from staging_simulation.cloudformation import CloudFormation, staged_keys
from staging_simulation.faults import Faults
from staging_simulation.lambda_service import LambdaService
from staging_simulation.memory_store import MemoryStore
from staging_simulation.model import BUNDLE, PREFIX, SIZES, MemoryHub, right_objects
from staging_simulation.scheduler import Scheduler, VirtualClock


class ShuffledPipeline:
    """Does what threads do, one step at a time in an order from the seed."""

    def __init__(self, scheduler: Scheduler, threads: int) -> None:
        self._scheduler, self._threads = scheduler, threads

    def run(self, jobs: Sequence[Job], steps: Steps[Job, Made], buffer_size: int) -> None:
        built: dict[int, Made] = {}
        to_ship: list[int] = []
        begun = taken = 0
        while taken < len(jobs) or to_ship:
            moves = ["build"] if begun < len(jobs) and begun - taken + len(to_ship) < self._threads else []
            moves += ["take"] if taken in built else []
            moves += ["ship"] if to_ship else []
            move = self._scheduler.random.choice(moves)
            try:
                if move == "build":
                    built[begun] = steps.build(jobs[begun], memoryview(bytearray(buffer_size)))
                    begun += 1
                elif move == "take":
                    steps.take(jobs[taken], built[taken])
                    to_ship.append(taken)
                    taken += 1
                else:
                    index = to_ship.pop(self._scheduler.random.randrange(len(to_ship)))
                    steps.ship(jobs[index], built.pop(index))
            except Exception as error:
                raise_gravest([error])


class Violation(AssertionError):
    """A schedule that did not end as it must."""


class Schedule:
    """Everything of one seed."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.scheduler = Scheduler(seed)
        self.faults = Faults(self.scheduler)
        self.clock = VirtualClock(self.scheduler)
        self.store = MemoryStore(self.scheduler, self.faults)
        self.lossy = self.scheduler.random.random() < 0.3
        timeout = self.scheduler.random.choice([150.0, 300.0, 900.0])
        self.service = LambdaService(self.scheduler, self.faults, timeout, self._invoke)
        self.cloudformation = CloudFormation(self.scheduler, self.faults, self.service)

    def run(self) -> None:
        """Play the schedule. Raises Violation."""
        random.seed(self.seed)  # the jitter of waits between attempts
        exportable = running_sha256.EXPORTABLE
        running_sha256.EXPORTABLE = exportable and self.faults.exportable
        try:
            story = self.scheduler.spawn("cloudformation", self.cloudformation.play)
            self.scheduler.run()
            if story.error is not None:
                raise story.error
            self._check()
        finally:
            running_sha256.EXPORTABLE = exportable

    def _invoke(self, event: Mapping[str, Any], deadline: float) -> None:
        draw = self.scheduler.random
        hand_over = draw.choice([5.0, 20.0])
        work, patience = Patience(self.clock, deadline - hand_over), Patience(self.clock, deadline - 1)

        def stage_in(store: Store, patience: Patience) -> StageRequest:
            def stage_request(request: StagedModelRequest, lease: Lease) -> Staged:
                wrong = self.faults.wrong_source and request.revision.startswith("b")
                materials = gather(request, MemoryHub(self.lossy, self.faults, wrong), BUNDLE, SIZES)
                threads = draw.choice([1, 2, 4])
                return stage(materials, Means(store, lease, patience, ShuffledPipeline(self.scheduler, threads)))

            return stage_request

        def send(event: Mapping[str, Any], answer: Answer) -> None:
            self.faults.travel()
            self.cloudformation.receive(event, answer)
            self.faults.travel()

        def again(event: Mapping[str, Any]) -> None:
            self.faults.travel()
            self.scheduler.note("hands over")
            self.service.invoke(event)

        owner = str(uuid.UUID(int=draw.getrandbits(128)))

        def open_store(bucket: str) -> MemoryStore:
            return self.store  # one bucket is all there is

        serve(event, Invocation(owner, self.clock, work, patience, open_store, stage_in, send, again))

    def _check(self) -> None:
        present = {key: self.store.objects[key] for key in staged_keys(self.store.objects)}
        live = self.cloudformation.live
        right = self._right() if live is not None else {}
        dead = self.cloudformation.outcomes[-1].request_id in self.service.exhausted
        if dead or self.cloudformation.gave_up:
            # A request that died again and again leaves things behind. What is live must be right all the same.
            present = {key: data for key, data in present.items() if key in right}
        self._require(present.keys() == right.keys(), f"keys must be {sorted(right)}, got {sorted(present)}")
        self._require(present == right, "the staged bytes must be the right ones")
        self._check_uploads()
        for outcome in self.cloudformation.outcomes:
            answers = self.cloudformation.answers.get(outcome.request_id, [])
            self._require(
                all(a == answers[0] for a in answers), f"{outcome.request_id} must have one answer: {answers}"
            )
            excused = outcome.cancelled or outcome.request_id in self.service.exhausted
            self._require(outcome.answer is not None or excused, f"{outcome.request_id} must be answered")
            if self.faults.calm:
                good = outcome.answer is not None and outcome.answer.reason is None and len(answers) == 1
                self._require(good, f"in calm weather {outcome.request_id} must succeed once, got {answers}")

    def _right(self) -> dict[str, bytes]:
        live = self.cloudformation.live_properties
        return right_objects(live["Packaging"], live["DecoderDtype"], live["Revision"], self.lossy)

    def _check_uploads(self) -> None:
        """Nothing that a record knows of may be left; what a killed run could not tell, a lifecycle rule ends."""
        self._require(not self.store.uploads or not self.faults.calm, f"left in calm weather: {self.store.uploads}")
        for key, data in self.store.objects.items():
            if key.startswith(f"{PREFIX}runs/"):
                record = parse_record(data)
                excused = record.request_id in self.service.exhausted
                done = record.state in ("answered", "superseded", "done") or excused
                self._require(done, f"{key} must have ended, got {record.state}")
                uploads = (record.journal or {}).get("uploads", [])
                left = [u for _, u in uploads if u in self.store.uploads]
                self._require(not left or excused, f"uploads that {key} knows of are left: {left}")

    def _require(self, condition: bool, message: str) -> None:
        if not condition:
            raise Violation(f"seed {self.seed}: {message}")


def describe(seed: int) -> str:
    """Return the story of a seed, for its report."""
    schedule = Schedule(seed)
    try:
        schedule.run()
        end = "ended well"
    except Violation as error:
        end = f"VIOLATION: {error}"
    records = {key: json.loads(data) for key, data in schedule.store.objects.items() if "/runs/" in key}
    states = "\n".join(f"{key}: {record['state']}" for key, record in records.items())
    return "\n".join([*schedule.scheduler.trace, states, end])
