"""The code in docs/api.md: what it shows to readers of the topics works on every kind of message."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from musicgen_serving.http.request import parse_request
from musicgen_serving.http.tracking import Progress

PAGE = Path(__file__).parents[3] / "docs/api.md"
# As logged by real endpoints, shortened.
COMPLETED = {
    "awsRegion": "us-east-1",
    "invocationStatus": "Completed",
    "responseParameters": {"contentType": "application/json", "outputLocation": "s3://out/out/1.out"},
    "inferenceId": "a",
    "eventSource": "aws:sagemaker",
    "eventName": "InferenceResult",
}
FAILED = {**COMPLETED, "invocationStatus": "Failed", "failureReason": "ClientError: Received server error (500)"}


@pytest.fixture(scope="module")
def result() -> Callable[[str], Any]:
    """The page's function."""
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    names: dict[str, Any] = {}
    exec(code, names)
    return names["result"]


def test_every_example_of_a_request_is_valid() -> None:
    decoder, examples = json.JSONDecoder(), list[Any]()
    for block in re.findall(r"```json\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL):
        while block := block.strip():
            example, end = decoder.raw_decode(block)
            examples.append(example)
            block = block[end:]
    requests = [example for example in examples if "contract" not in example and "stage" not in example]
    assert len(requests) == len(examples) - 2 == 10
    for request in requests:
        parse_request(json.dumps(request).encode(), "application/json")
    (progress,) = [example for example in examples if "stage" in example]
    assert [*Progress("a", "out", 4).state(), "updated"] == list(progress)


def test_every_field_of_the_schema_is_listed() -> None:
    whole = json.loads(PAGE.with_name("request.schema.json").read_text(encoding="utf-8"))
    schema, audio = whole["properties"], whole["$defs"]["audio"]["properties"]
    request = PAGE.read_text(encoding="utf-8").partition("\n## The response")[0]
    rows = re.findall(r"^\| (`\w+`(?:, `\w+`)*) \|", request, re.MULTILINE)
    listed = set(re.findall(r"\w+", " ".join(rows)))
    objects = [*schema["generation_params"]["properties"], *schema["continuation"]["properties"]]
    assert listed == {*schema, *objects, *audio}


@pytest.mark.parametrize("event", [COMPLETED, FAILED])
def test_takes_results(result: Callable[[str], Any], event: dict[str, Any]) -> None:
    assert result(json.dumps(event)) == event


@pytest.mark.parametrize(
    "message",
    [
        "This is a test notification.",
        "",
        "null",
        "[]",
        '"test"',
        "{}",
        json.dumps({"eventSource": "aws:sagemaker", "eventName": "TestNotification", "inferenceId": "a"}),
        json.dumps({"eventName": "InferenceResult"}),
    ],
)
def test_ignores_test_messages_of_any_shape(result: Callable[[str], Any], message: str) -> None:
    assert result(message) is None
