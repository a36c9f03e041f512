"""Truncated replies of S3 are detected and retried; see `test_lying_sources` for the Hub's."""

import threading
from dataclasses import replace

import pytest

from stage_model.handler import handler
from tests.stage_model.fakes.lambda_runner import Lambda
from tests.stage_model.fakes.s3 import Reply as S3Reply


@pytest.fixture
def scale() -> int:
    """Weights of about 200 kB: several parts."""
    return 30


def truncate_first(aws: Lambda, what: str) -> list[str]:
    """Truncate S3's first reply to such a read; return the truncated ones."""
    done: list[str] = []

    def on_reply(method: str, path: str, reply: S3Reply) -> S3Reply:
        if method != "GET" or what not in path or done or reply.status != 200:
            return reply
        done.append(path)
        return replace(reply, truncate_to=len(reply.body) // 2)

    aws.s3.on_reply = on_reply
    return done


@pytest.mark.parametrize("what", ["bundle.zip", "/runs/", "list-type", "?uploads", "uploadId"])
def test_of_s3_are_retried(what: str, aws: Lambda) -> None:
    first = aws.run(request="r1")
    done = truncate_first(aws, what)
    response = aws.run("Update", "r2", first["PhysicalResourceId"], DecoderDtype="float32")
    aws.run("Delete", "r3", first["PhysicalResourceId"])
    assert done and aws.holds_the_model(response)


def test_of_a_record_read_by_a_duplicate_event_sends_no_second_response(aws: Lambda) -> None:
    started, resume = threading.Event(), threading.Event()

    def fault(method: str, path: str) -> int | None:
        if "partNumber=2&" in path and not started.is_set():
            started.set()
            resume.wait(5)
        return None

    aws.s3.fault = fault
    event = aws.event("Create", "r1")
    first = threading.Thread(target=handler, args=(event, aws))
    first.start()
    assert started.wait(20)
    done = truncate_first(aws, "/runs/r1")
    second = threading.Thread(target=handler, args=(event, aws))
    second.start()
    resume.set()
    for run in (first, second):
        run.join(60)
    assert done and [response["Status"] for response in aws.sink.responses] == ["SUCCESS"]
    assert aws.holds_the_model(aws.sink.responses[0])
