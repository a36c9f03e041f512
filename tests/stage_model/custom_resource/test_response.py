"""Responses to CloudFormation, which accepts at most 4096 bytes."""

import json
import time

import pytest

from stage_model.custom_resource.lifecycle import Response, send_response
from stage_model.http import Connections
from tests.stage_model.fakes.response_sink import ResponseSink


@pytest.mark.parametrize("character", ["a", "ж", "𝄞", '"', "\0"])
def test_a_reason_of_any_characters_fits(character: str, sink: ResponseSink) -> None:
    event = {"ResponseURL": sink.url, "StackId": "s" * 200, "RequestId": "r" * 36, "LogicalResourceId": "StagedModel"}
    connections = Connections()
    send_response(event, Response("id" * 100, character * 5000), connections, time.time() + 30)
    connections.close()
    (response,) = sink.responses
    assert response["Status"] == "FAILED" and len(json.dumps(response)) <= 4096
    assert 80 <= len(response["Reason"]) <= 1000 and set(response["Reason"]) == {character}
