"""A request that takes too long fails before CloudFormation stops waiting for a response."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from stage_model.custom_resource.lifecycle import Invocation, Response, serve
from stage_model.custom_resource.run_record import parse_record
from stage_model.errors import TransientError
from stage_model.request import StagedModelRequest
from stage_model.retry import RetryBudget
from stage_model.s3 import Store, Versioned
from stage_model.upload.stager import StagedModel, StagingContext
from tests.stage_model.fakes.clock import WaitingClock

BEGAN = 1_700_000_000.0
INVOCATION_S = 900.0
PREFIX = "models/Stack/StagedModel/"
Stage = Callable[[WaitingClock, RetryBudget], None]


@dataclass
class Records:
    """A bucket that holds run records only."""

    objects: dict[str, bytes] = field(default_factory=dict[str, bytes])

    def read(self, key: str) -> Versioned | None:
        data = self.objects.get(key)
        return None if data is None else Versioned(data, hashlib.md5(data, usedforsecurity=False).hexdigest())

    def write(self, key: str, data: bytes, replaces: str | None) -> str:
        present = self.read(key)
        assert replaces == (present.etag if present else None)
        self.objects[key] = data
        return hashlib.md5(data, usedforsecurity=False).hexdigest()

    def keys(self, prefix: str) -> list[str]:
        return [key for key in self.objects if key.startswith(prefix)]


@dataclass
class Stack:
    """CloudFormation and Lambda: invocations follow each other until there is a response."""

    stage: Stage
    clock: WaitingClock = field(default_factory=lambda: WaitingClock(BEGAN))
    records: Records = field(default_factory=Records)
    responses: list[tuple[float, Response]] = field(default_factory=list[tuple[float, Response]])
    invocations: int = 0

    def create(self, delivered_after: float = 0.0) -> str:
        """Create a model and return the reason in the response."""
        properties = {
            "ModelId": "facebook/musicgen-tiny", "Revision": "a" * 40, "DecoderDtype": "float32", "CodeBucket": "code",
            "CodeKey": "bundle.zip", "ModelBucket": "artifacts", "KeyPrefix": PREFIX,
        }  # fmt: skip
        event = {
            "RequestType": "Create", "RequestId": "r1", "StackId": "stack", "LogicalResourceId": "StagedModel",
            "ResponseURL": "https://example.com/?X-Amz-Date=20231114T221320Z", "ResourceProperties": properties,
        }  # fmt: skip
        self.clock.time += delivered_after
        events = [event]
        while events:
            self.invocations += 1
            serve(events.pop(), self._invocation(events))
        ((_, response),) = self.responses
        return response.reason or ""

    def _invocation(self, events: list[Any]) -> Invocation:
        end = self.clock.now() + INVOCATION_S
        work, budget = RetryBudget(self.clock, end - 30.0), RetryBudget(self.clock, end - 3.0)
        return Invocation(f"run{self.invocations}", work, budget, FakeEnvironment(self, events))


@dataclass
class FakeEnvironment:
    """The services of one invocation; see `Environment`."""

    stack: Stack
    events: list[Any]

    def open_store(self, bucket: str) -> Store:
        return cast(Store, self.stack.records)

    def stage(self, request: StagedModelRequest, context: StagingContext) -> StagedModel:
        self.stack.stage(self.stack.clock, context.budget)
        return StagedModel(f"{PREFIX}{'0' * 64}/model.tar.gz", 1)

    def respond(self, event: Mapping[str, Any], response: Response) -> None:
        self.stack.responses.append((self.stack.clock.now(), response))

    def continue_in_new_invocation(self, event: Mapping[str, Any]) -> None:
        self.events.append(event)


def endless(clock: WaitingClock, budget: RetryBudget) -> None:
    """Make progress forever."""
    while True:
        budget.check_deadline()
        clock.sleep(10.0)


def limited(clock: WaitingClock, budget: RetryBudget) -> None:
    """Read from a source that repeatedly sends a little and then requests a wait."""
    attempts = budget.attempts()
    while True:
        attempts.progressed()
        attempts.wait_after(TransientError("the source answered 429", 250.0))


@pytest.mark.parametrize("delivered_after", [0.0, 1500.0])
def test_slow_staging_fails_before_cloudformation_times_out(delivered_after: float) -> None:
    stack = Stack(endless)
    assert stack.create(delivered_after) == "staging did not finish within 3600 s"
    assert 3400.0 < stack.responses[0][0] - BEGAN < 3500.0
    assert stack.invocations > 1
    assert parse_record(stack.records.objects[f"{PREFIX}runs/r1.json"]).state == "answered"


def test_the_last_error_is_reported() -> None:
    stack = Stack(limited)
    assert stack.create() == "staging did not finish within 3600 s: the source answered 429"
    assert stack.clock.now() - BEGAN < 3500.0
    assert stack.invocations < 6, "a wait that the server requests must not be cut short by a new invocation"


def test_an_invocation_that_starts_too_late_fails_at_once() -> None:
    stack = Stack(endless)
    assert stack.create(delivered_after=3450.0) == "staging did not finish within 3600 s"
    assert stack.invocations == 1


def test_staging_that_ends_in_time_succeeds() -> None:
    stack = Stack(lambda clock, budget: clock.sleep(600.0))
    assert stack.create() == ""
    assert stack.invocations == 1
