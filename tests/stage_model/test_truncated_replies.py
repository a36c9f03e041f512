"""Truncated replies other than the weights' are detected and retried."""

import threading
from collections.abc import Callable
from dataclasses import replace

import pytest

from stage_model.handler import handler
from tests.stage_model.fakes.hub import HubRequest, Reply
from tests.stage_model.fakes.lambda_runner import Lambda
from tests.stage_model.fakes.s3 import Reply as S3Reply


@pytest.fixture
def scale() -> int:
    """Weights of about 200 kB: several parts."""
    return 30


def once(matches: Callable[[str], bool], cut: int | None) -> Callable[[HubRequest, Reply], Reply]:
    """Return a fault that truncates the first matching reply of the Hub after `cut` bytes, or in its middle."""
    left = [1]

    def fault(seen: HubRequest, reply: Reply) -> Reply:
        if not left[0] or not matches(seen.path):
            return reply
        left[0] -= 1
        return replace(reply, cut=len(reply.body) // 2 if cut is None else cut)

    return fault


@pytest.mark.parametrize("cut", [None, 0])
@pytest.mark.parametrize("what", ["/api/models/", "/config.json", "/spiece.model"])
def test_of_the_hub_are_retried(what: str, cut: int | None, aws: Lambda) -> None:
    aws.hub.fault = once(lambda path: what in path, cut)
    assert aws.holds_the_model(aws.run())


def cut_first(aws: Lambda, what: str) -> list[str]:
    """Truncate S3's first reply to such a read; return the truncated ones."""
    done: list[str] = []

    def change(method: str, path: str, reply: S3Reply) -> S3Reply:
        if method != "GET" or what not in path or done or reply.status != 200:
            return reply
        done.append(path)
        return replace(reply, cut=len(reply.body) // 2)

    aws.s3.change = change
    return done


@pytest.mark.parametrize("what", ["bundle.zip", "/runs/", "list-type", "?uploads", "uploadId"])
def test_of_s3_are_retried(what: str, aws: Lambda) -> None:
    first = aws.run(request="r1")
    done = cut_first(aws, what)
    answer = aws.run("Update", "r2", first["PhysicalResourceId"], DecoderDtype="float32")
    aws.run("Delete", "r3", first["PhysicalResourceId"])
    assert done and aws.holds_the_model(answer)


def test_of_a_record_read_by_a_duplicate_event_sends_no_second_response(aws: Lambda) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def fault(method: str, path: str) -> int | None:
        if "partNumber=2&" in path and not begun.is_set():
            begun.set()
            go_on.wait(5)
        return None

    aws.s3.fault = fault
    event = aws.event("Create", "r1")
    first = threading.Thread(target=handler, args=(event, aws))
    first.start()
    assert begun.wait(20)
    done = cut_first(aws, "/runs/r1")
    second = threading.Thread(target=handler, args=(event, aws))
    second.start()
    go_on.set()
    for run in (first, second):
        run.join(60)
    assert done and [answer["Status"] for answer in aws.sink.answers] == ["SUCCESS"]
    assert aws.holds_the_model(aws.sink.answers[0])
