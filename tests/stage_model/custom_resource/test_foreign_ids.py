"""A model that CloudFormation knows is deleted only by a Delete that names it."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from stage_model.handler import handler
from tests.stage_model.fakes.lambda_runner import BUCKET, PREFIX, Lambda

FOREIGN_IDS = [f"{PREFIX}unstaged", "", None, "2026/01/31/[$LATEST]0123456789abcdef", f"{PREFIX}runs/", "../../etc"]
Change = Callable[[dict[str, Any]], dict[str, Any]]


@pytest.fixture(autouse=True)
def short_waits(brief_waits: None) -> None:
    """Waits between attempts are short."""


def change_record(aws: Lambda, request: str, change: Change) -> None:
    key = f"{BUCKET}/{PREFIX}runs/{request}.json"
    aws.s3.objects[key] = json.dumps(change(json.loads(aws.s3.objects[key]))).encode()


def holds(aws: Lambda, response: Any) -> bool:
    """Return whether the model in a response exists, whatever else there is."""
    assert response["Status"] == "SUCCESS", response
    return any(key.startswith(f"{BUCKET}/{response['PhysicalResourceId']}") for key in aws.staged())


def create_after_a_failure(aws: Lambda, packaging: str = "tarball") -> Any:
    """Create without rollback: the first attempt fails, the second gives the live model."""
    assert aws.run("Create", "failed", Revision="main")["Status"] == "FAILED"
    return aws.run("Create", "live", Packaging=packaging)


def request_issued(aws: Lambda, ago_s: float, kind: str, request: str, physical_id: str | None) -> Any:
    """Serve a request that CloudFormation signed some seconds ago."""
    signed = datetime.fromtimestamp(aws.clock.now() - ago_s, UTC).strftime("%Y%m%dT%H%M%SZ")
    event = aws.event(kind, request, physical_id)
    handler({**event, "ResponseURL": f"{event['ResponseURL']}&X-Amz-Date={signed}"}, aws)
    response = aws.sink.responses[-1]
    assert (response["RequestId"], response["Status"]) == (request, "SUCCESS")
    return response


@pytest.mark.parametrize("physical_id", FOREIGN_IDS)
@pytest.mark.parametrize("packaging", ["tarball", "uncompressed"])
def test_a_delete_under_another_id_keeps_the_live_model(packaging: str, physical_id: str | None, aws: Lambda) -> None:
    live = create_after_a_failure(aws, packaging)
    response = aws.run("Delete", "r3", physical_id)
    assert response["Status"] == "SUCCESS"
    assert response["PhysicalResourceId"] == (physical_id or f"{PREFIX}unstaged"), "CloudFormation accepts no empty id"
    assert aws.holds_the_model(live)


@pytest.mark.parametrize("physical_id", FOREIGN_IDS)
@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_an_update_under_another_id_keeps_the_live_model(dtype: str, physical_id: str | None, aws: Lambda) -> None:
    live = create_after_a_failure(aws)
    updated = aws.run("Update", "r3", physical_id, DecoderDtype=dtype)
    assert holds(aws, live) and holds(aws, updated)
    assert (updated["PhysicalResourceId"] == live["PhysicalResourceId"]) == (dtype == "float16")


UNPROVEN: dict[str, Change] = {
    "sent but not recorded": lambda record: {**record, "state": "done", "finished": record["finished"] - 100},
    "by an earlier version": lambda record: {k: v for k, v in record.items() if k not in ("finished", "made")},
    "found, not made": lambda record: {**record, "made": False},
    "decided in the same second": lambda record: {**record, "finished": record["finished"] - 49},
}


@pytest.mark.parametrize("name", UNPROVEN)
def test_a_response_that_may_have_been_received_keeps_the_model(name: str, aws: Lambda) -> None:
    live = create_after_a_failure(aws)
    for request in ("failed", "live"):
        change_record(aws, request, lambda record: {**record, "issued": record["issued"] - 500})
    change_record(aws, "live", UNPROVEN[name])
    request_issued(aws, 50, "Delete", "r3", f"{PREFIX}unstaged")
    assert holds(aws, live)


def test_a_live_model_without_a_record_is_kept(aws: Lambda) -> None:
    live = create_after_a_failure(aws)
    for key in [key for key in aws.s3.objects if "/runs/" in key]:
        del aws.s3.objects[key]
    aws.run("Delete", "r3", f"{PREFIX}unstaged")
    assert aws.holds_the_model(live)


def test_a_model_finished_after_cloudformation_had_moved_on_is_deleted(aws: Lambda) -> None:
    aws.run("Create", "late")
    change_record(aws, "late", lambda record: {**record, "issued": record["issued"] - 500})
    request_issued(aws, 50, "Delete", "r2", "Stack-StagedModel-1")
    assert aws.is_empty()


def test_a_model_finished_after_the_timeout_is_deleted(aws: Lambda) -> None:
    aws.run("Create", "late")
    change_record(aws, "late", lambda record: {**record, "issued": record["issued"] - 3700})
    aws.run("Delete", "r2", "Stack-StagedModel-1")
    assert aws.is_empty()


def test_a_late_model_that_a_later_create_returned_is_kept(aws: Lambda) -> None:
    aws.run("Create", "late")
    change_record(aws, "late", lambda record: {**record, "issued": record["issued"] - 3700})
    live = aws.run("Create", "live")
    aws.run("Delete", "r3", "Stack-StagedModel-1")
    assert aws.holds_the_model(live)


def test_a_late_model_whose_later_records_may_have_expired_is_kept(aws: Lambda) -> None:
    late = aws.run("Create", "late")
    day = 86400.0
    change_record(aws, "late", lambda r: {**r, "issued": r["issued"] - day - 3700, "finished": r["finished"] - day})
    aws.run("Delete", "r2", "Stack-StagedModel-1")
    assert aws.holds_the_model(late)


def test_a_rollback_keeps_the_old_model_and_deletes_a_late_new_one(aws: Lambda) -> None:
    live = aws.run("Create", "live")
    change_record(aws, "live", lambda record: {**record, "issued": record["issued"] - 900, "finished": 0.0})
    aws.run("Update", "late", live["PhysicalResourceId"], DecoderDtype="float32")
    change_record(aws, "late", lambda record: {**record, "issued": record["issued"] - 500})
    rolled_back = request_issued(aws, 50, "Update", "r3", live["PhysicalResourceId"])
    assert rolled_back["PhysicalResourceId"] == live["PhysicalResourceId"]
    assert aws.holds_the_model(live)


def test_an_update_keeps_the_model_that_it_names_however_late_its_response_was(aws: Lambda) -> None:
    named = aws.run("Create", "late")
    change_record(aws, "late", lambda record: {**record, "issued": record["issued"] - 3700})
    assert holds(aws, aws.run("Update", "r2", named["PhysicalResourceId"], DecoderDtype="float32"))
    assert holds(aws, named)
