"""Answers that break off, other than the weights': none of them is taken for the whole, and none is final."""

import threading
from collections.abc import Callable
from dataclasses import replace

import pytest

from stage_model.handler import handler
from tests.stage_model.fakes.hub import Reply, Seen
from tests.stage_model.fakes.lambda_runner import Lambda
from tests.stage_model.fakes.s3 import Reply as S3Reply


@pytest.fixture
def scale() -> int:
    """Weights of about 200 kB: several parts."""
    return 30


def once(matches: Callable[[str], bool], cut: int | None) -> Callable[[Seen, Reply], Reply]:
    """Return a fault that breaks the first such answer of the Hub off after `cut` bytes, or in its middle."""
    left = [1]

    def fault(seen: Seen, reply: Reply) -> Reply:
        if not left[0] or not matches(seen.path):
            return reply
        left[0] -= 1
        return replace(reply, cut=len(reply.body) // 2 if cut is None else cut)

    return fault


@pytest.mark.parametrize("cut", [None, 0])
@pytest.mark.parametrize("what", ["/api/models/", "/config.json", "/spiece.model"])
def test_of_the_hub(what: str, cut: int | None, aws: Lambda) -> None:
    aws.hub.fault = once(lambda path: what in path, cut)
    assert aws.holds_the_model(aws.run())


def cut_first(aws: Lambda, what: str) -> list[str]:
    """Make S3 break off its first answer to such a request to read; return those that it broke off."""
    done: list[str] = []

    def change(method: str, path: str, reply: S3Reply) -> S3Reply:
        if method != "GET" or what not in path or done or reply.status != 200:
            return reply
        done.append(path)
        return replace(reply, cut=len(reply.body) // 2)

    aws.s3.change = change
    return done


@pytest.mark.parametrize("what", ["bundle.zip", "/runs/", "list-type", "?uploads", "uploadId"])
def test_of_s3(what: str, aws: Lambda) -> None:
    first = aws.run(request="r1")
    done = cut_first(aws, what)
    answer = aws.run("Update", "r2", first["PhysicalResourceId"], DecoderDtype="float32")
    aws.run("Delete", "r3", first["PhysicalResourceId"])
    assert done and aws.holds_the_model(answer)


def test_of_a_record_read_by_a_second_delivery_which_says_nothing_beside_the_first(aws: Lambda) -> None:
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
