"""The published schema and the validator accept the same requests."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from musicgen_serving.http.errors import InvalidRequestError, UnsupportedContentTypeError
from musicgen_serving.http.request import parse_request
from tests.model_bundle.helpers.request_strategies import anything, audio, excerpt, requests

SCHEMA: dict[str, Any] = json.loads(
    (Path(__file__).parents[3] / "docs/request.schema.json").read_text(encoding="utf-8")
)
VALIDATOR: Any = Draft202012Validator(SCHEMA)


def accepted(body: bytes, content_type: str = "application/json") -> bool:
    try:
        parse_request(body, content_type)
    except (InvalidRequestError, UnsupportedContentTypeError):
        return False
    return True


@settings(max_examples=400, deadline=None)
@given(requests | anything, st.sampled_from(["application/json", "application/octet-stream", ""]))
def test_schema_and_validator_agree_with_and_without_a_content_type(request: object, content_type: str) -> None:
    assert accepted(json.dumps(request).encode(), content_type) == VALIDATOR.is_valid(request)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.text(min_size=1, max_size=9).filter(str.strip), min_size=1, max_size=16), st.integers(4, 1503))
def test_schema_and_validator_both_accept_valid_requests(texts: list[str], tokens: int) -> None:
    request = {"texts": texts, "generation_params": {"max_new_tokens": tokens, "seed": tokens, "top_p": 0.5}}
    assert accepted(json.dumps(request).encode())
    assert VALIDATOR.is_valid(request)


@pytest.mark.parametrize(
    ("request_body", "valid"),
    [
        ({"texts": ["a"], "negative_prompt": "drums", "return_tokens": True}, True),
        ({"unconditional_clips": 16, "return_tokens": False}, True),
        ({"unconditional_clips": 17}, False),
        ({"unconditional_clips": 1, "texts": ["a"]}, False),
        ({"unconditional_clips": 1, "negative_prompt": "drums"}, False),
        ({"negative_prompt": "drums"}, False),
        ({}, False),
    ],
)
def test_schema_and_validator_agree_on_what_to_generate(request_body: dict[str, Any], valid: bool) -> None:
    assert accepted(json.dumps(request_body).encode()) == VALIDATOR.is_valid(request_body) == valid


plausible = st.fixed_dictionaries(
    {},
    optional={
        "texts": st.lists(st.just("a"), min_size=1, max_size=16),
        "sections": st.lists(st.just({"text": "a", "duration": 1}), min_size=1, max_size=3),
        "n": st.integers(1, 16),
        "loop": st.booleans(),
        "bpm": st.sampled_from([29.5, 30, 120]),
        "bars": st.sampled_from([1, 64, 65]),
        "continuation": st.just({"audio": {"s3": "s3://uploads/in/a.wav"}}),
        "trim_tail": st.just(True),
        "fade_in": st.just(1),
        "generation_params": st.sampled_from(
            [{}, {"duration": 300}, {"duration": 301}, {"stride": 29}, {"max_new_tokens": 9}]
        ),
    },
)


@settings(max_examples=600, deadline=None)
@given(plausible)
def test_schema_and_validator_agree_on_fields_that_depend_on_each_other(request: object) -> None:
    assert accepted(json.dumps(request).encode()) == VALIDATOR.is_valid(request)


@settings(max_examples=400, deadline=None)
@given(excerpt | st.fixed_dictionaries({"audio": audio}))
def test_schema_and_validator_agree_on_continuations(continuation: object) -> None:
    request = {"texts": ["a"], "continuation": continuation}
    assert accepted(json.dumps(request).encode()) == VALIDATOR.is_valid(request)


def test_the_schema_is_a_valid_schema() -> None:
    Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("field", ["max_new_tokens", "guidance_scale", "do_sample", "temperature", "top_k", "top_p"])
def test_the_schemas_defaults_are_the_validators(field: str) -> None:
    defaults = parse_request(b'{"texts": ["a"]}', "application/json").params
    assert SCHEMA["properties"]["generation_params"]["properties"][field]["default"] == getattr(defaults, field)


def test_the_schemas_defaults_for_files_are_the_validators() -> None:
    defaults = vars(parse_request(b'{"texts": ["a"]}', "application/json").output)
    assert {name: SCHEMA["properties"][name]["default"] for name in defaults} == defaults
