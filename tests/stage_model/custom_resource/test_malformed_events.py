"""Events that CloudFormation would not send: answered where an answer may be sent, ignored otherwise, never a crash."""

import json
import random
from typing import Any

import pytest

from stage_model.errors import StagingError
from stage_model.handler import handler
from stage_model.request import check_response_url
from tests.stage_model.fakes.lambda_runner import PREFIX, Lambda

VALUES: list[Any] = [
    None, 7, 1.5, True, [], ["a"], {}, {"a": {}}, "", " ", "\0", "\ud800", "ж" * 3000, '"' * 5000, "x" * 70000,
]  # fmt: skip
NAMES = ["RequestId", "StackId", "LogicalResourceId", "ResourceProperties", "RequestType", "PhysicalResourceId"]
REFUSED_URLS: list[Any] = [
    None, 7, [], {}, "", "https://", "https:///path", "http://example.com/", "ftp://example.com/", "file:///etc/passwd",
    "https://[::1", "https://example.com:99999/", "https://exämple.com/", "https://example.com/a b", "https://a@example.com/",
    "https://example.com/\r\nX: y", "https://example.com/" + "x" * 9000,
]  # fmt: skip
LOCAL_HOSTS = [
    "localhost", "localhost.", "LOCALHOST", "a.localhost", "127.0.0.1", "127.8.9.10", "127.1", "2130706433", "0x7f.1",
    "0177.0.0.1", "0", "0.0.0.0", "[::1]", "[::]", "[::ffff:127.0.0.1]", "169.254.169.254", "[fe80::1]",
]  # fmt: skip


@pytest.fixture(autouse=True)
def short_waits(brief_waits: None) -> None:
    """Waits between attempts are short."""


def serve(aws: Lambda, event: Any) -> dict[str, Any]:
    """Serve an event and return the only response."""
    before = len(aws.sink.responses)
    handler(event, aws)
    (response,) = aws.sink.responses[before:]
    assert len(json.dumps(response)) <= 4096
    assert 1 <= len(response["PhysicalResourceId"].encode(errors="surrogatepass")) <= 1024
    return response


@pytest.mark.parametrize("name", NAMES)
def test_a_missing_field_is_answered(name: str, aws: Lambda) -> None:
    event = aws.event("Create", "r1")
    event.pop(name, None)
    response = serve(aws, event)
    if name == "PhysicalResourceId":
        assert aws.holds_the_model(response)
    else:
        assert response["Status"] == "FAILED" and name in response["Reason"]
        assert aws.is_empty()


@pytest.mark.parametrize("name", [name for name in NAMES if name != "PhysicalResourceId"])
def test_a_malformed_field_is_answered(name: str, aws: Lambda) -> None:
    for number, value in enumerate(VALUES):
        response = serve(aws, {**aws.event("Create", f"r{number}"), name: value})
        assert response["Status"] == "FAILED" and response["Reason"] and aws.is_empty(), value


@pytest.mark.parametrize("kind", ["Update", "Delete"])
def test_a_malformed_physical_id_is_answered(kind: str, aws: Lambda) -> None:
    for number, value in enumerate(VALUES):
        event = {**aws.event(kind, f"r{number}", Revision="main"), "PhysicalResourceId": value}
        response = serve(aws, event)
        assert response["Status"] == ("SUCCESS" if kind == "Delete" else "FAILED")


@pytest.mark.parametrize("name", ["ModelId", "Revision", "CodeKey", "ModelBucket", "KeyPrefix", "Packaging"])
def test_malformed_properties_are_answered(name: str, aws: Lambda) -> None:
    for number, value in enumerate(VALUES):
        event = aws.event("Create", f"r{number}")
        event["ResourceProperties"][name] = value
        response = serve(aws, event)
        assert response["Status"] == "FAILED" and aws.is_empty()


def test_a_malformed_delete_succeeds_so_that_the_stack_can_be_deleted(aws: Lambda) -> None:
    for name in ("RequestId", "ResourceProperties"):
        response = serve(aws, {**aws.event("Delete", "r1", f"{PREFIX}unstaged"), name: None})
        assert (response["Status"], response["PhysicalResourceId"]) == ("SUCCESS", f"{PREFIX}unstaged")


def test_random_events_are_answered(aws: Lambda) -> None:
    draw = random.Random(17)
    for number in range(100):
        event: dict[str, Any] = {**aws.event(draw.choice(["Update", "Delete", "x"]), f"r{number}", Revision="main")}
        for name in draw.sample(NAMES, draw.randrange(1, 4)):
            if draw.random() < 0.3:
                event.pop(name, None)
            else:
                event[name] = draw.choice(VALUES)
        serve(aws, event)


def test_an_event_without_a_usable_response_url_is_ignored_before_any_work(aws: Lambda) -> None:
    for url in REFUSED_URLS:
        handler({**aws.event("Create", "r1"), "ResponseURL": url}, aws)
        assert not aws.sink.responses and not aws.s3.requests and not aws.hub.requests, url


def test_what_is_not_an_event_is_ignored(aws: Lambda) -> None:
    events: list[Any] = [None, 7, "event", [], {}, [{}]]
    for event in events:
        handler(event, aws)
    assert not aws.sink.responses and not aws.s3.requests


@pytest.mark.parametrize("endpoint", ["", "https://s3.us-east-1.amazonaws.com"])
@pytest.mark.parametrize("host", LOCAL_HOSTS)
def test_a_response_url_on_this_machine_is_refused(host: str, endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    for scheme in ("http", "https"):
        with pytest.raises(StagingError, match=r"this machine|must be https"):
            check_response_url({"ResponseURL": f"{scheme}://{host}:8080/path"})


def test_a_response_url_of_s3_is_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    host = "cloudformation-custom-resource-response-useast1.s3.us-east-1.amazonaws.com"
    check_response_url({"ResponseURL": f"https://{host}/arn%3Aaws/x?X-Amz-Date=20260131T000000Z&X-Amz-Signature=0"})


def test_log_lines_escape_what_an_event_holds(aws: Lambda, caplog: pytest.LogCaptureFixture) -> None:
    for number, value in enumerate(VALUES):
        serve(aws, {**aws.event("Create", f"r{number}"), "RequestType": value})
        serve(aws, {**aws.event("Update", f"s{number}", Revision="main"), "PhysicalResourceId": value})
    assert caplog.text.encode()  # a lone surrogate could not be encoded
    assert "\0" not in caplog.text
