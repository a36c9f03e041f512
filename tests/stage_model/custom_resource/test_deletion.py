"""A deletion that fails half-way never leaves something that counts as a model."""

import pytest

import stage_model.retry
from tests.stage_model.fakes.lambda_runner import Lambda
from tests.stage_model.fakes.s3 import Reply


@pytest.fixture(autouse=True)
def short_budget(brief_waits: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stall after half a second."""
    monkeypatch.setattr(stage_model.retry.RetryBudget.__init__, "__defaults__", (0.5, 0.005, 0.02, 900.0))


def is_deletion(method: str, path: str) -> bool:
    return method == "DELETE" and "uploadId" not in path and "/runs/" not in path


@pytest.mark.parametrize("after", [1, 3])
def test_a_partly_deleted_model_is_staged_again(after: int, aws: Lambda) -> None:
    first = aws.run("Create", "r1", Packaging="uncompressed")["PhysicalResourceId"]
    second = aws.run("Update", "r2", first, Packaging="uncompressed", DecoderDtype="float32")["PhysicalResourceId"]
    removed = [0]

    def fault(method: str, path: str) -> int | None:
        removed[0] += is_deletion(method, path)
        return 503 if is_deletion(method, path) and removed[0] > after else None

    aws.s3.fault = fault
    failed = aws.run("Delete", "r3", first, Packaging="uncompressed")
    assert failed["Status"] == "FAILED" and "gave up" in failed["Reason"]
    aws.s3.fault = None
    assert aws.run("Update", "r4", second, Packaging="uncompressed")["PhysicalResourceId"] == first
    aws.run("Delete", "r5", second, Packaging="uncompressed")
    assert aws.holds_the_model({"PhysicalResourceId": first})


@pytest.mark.parametrize("packaging", ["tarball", "uncompressed"])
def test_a_failed_deletion_is_reported_and_can_be_retried(packaging: str, aws: Lambda) -> None:
    staged = aws.run("Create", "r1", Packaging=packaging)["PhysicalResourceId"]
    aws.s3.fault = lambda method, path: 503 if is_deletion(method, path) else None
    failed = aws.run("Delete", "r2", staged, Packaging=packaging)
    assert failed["Status"] == "FAILED" and failed["PhysicalResourceId"] == staged
    aws.s3.fault = None
    assert aws.run("Delete", "r3", staged, Packaging=packaging)["Status"] == "SUCCESS"
    assert aws.is_empty()


def test_an_upload_that_conflicted_with_another_writer_restarts(aws: Lambda) -> None:
    conflicted: set[str] = set()
    respond = aws.s3.respond

    def conflict_once(method: str, target: str, headers: dict[str, str], body: bytes) -> Reply:
        if method == "POST" and "uploadId" in target and (not conflicted or target in conflicted):
            conflicted.add(target)
            return Reply(409, b"<Error><Code>ConditionalRequestConflict</Code></Error>")
        return respond(method, target, headers, body)

    aws.s3.respond = conflict_once
    assert aws.holds_the_model(aws.run())
    assert len(conflicted) == 1
