"""Requests: the client refuses what the container refuses, with the same sentence, and nothing else."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from musicgen_client.errors import InvalidRequest
from musicgen_client.requests import FORMATS, NORMALIZATIONS, RANGES, Request, Section, job_id, variations
from musicgen_serving.http.errors import InvalidRequestError
from musicgen_serving.http.negotiation import parse_inference_id
from musicgen_serving.http.request import parse_request

SCHEMA = json.loads((Path(__file__).parents[2] / "docs" / "request.schema.json").read_text(encoding="utf-8"))
numbers = st.one_of(
    st.integers(-5, 3000),
    st.floats(-5, 40, allow_nan=False),
    st.sampled_from([math.nan, 2**32, True, "7"]),
)
FIELDS = st.fixed_dictionaries(
    {"texts": st.lists(st.text(max_size=20), max_size=18).map(tuple)},
    optional={
        "negative_prompt": st.text(max_size=5),
        "return_tokens": st.sampled_from([True, False, 1]),
        "do_sample": st.sampled_from([True, False, "yes"]),
        "format": st.sampled_from([*FORMATS, "aac", 1]),
        "normalization": st.sampled_from([*NORMALIZATIONS, "lufs"]),
        "fade_in": numbers,
        "fade_out": numbers,
        "trim_tail": st.sampled_from([True, False, 1]),
        "tags": st.sampled_from([True, False, "yes"]),
        "n": numbers | st.integers(1, 4),
        "loop": st.booleans(),
        "bpm": numbers | st.just(120),
        "bars": numbers | st.just(4),
        **{name: numbers for name in RANGES},
    },
)


def container(fields: dict[str, Any]) -> str | None:
    """Return the container's sentence about a request, None if it accepts it."""
    params = {name: value for name, value in fields.items() if name in (*RANGES, "do_sample")}
    body = {name: value for name, value in fields.items() if name not in params}
    try:
        parse_request(json.dumps({**body, "generation_params": params}).encode(), "application/json")
    except InvalidRequestError as error:
        return str(error)
    return None


@given(FIELDS)
def test_client_refuses_exactly_what_the_container_refuses(fields: dict[str, Any]) -> None:
    theirs = container(fields)
    try:
        Request(**fields)
    except InvalidRequest as error:
        assert theirs is not None
        alone = [container({"texts": ("x",), name: value}) for name, value in fields.items()]
        if sum(sentence is not None for sentence in alone) == 1:  # else the two may name different ones
            assert str(error) == theirs
    else:
        assert theirs is None


@given(FIELDS)
def test_body_is_accepted_and_read_back_unchanged(fields: dict[str, Any]) -> None:
    try:
        request = Request(**fields).seeded()
    except InvalidRequest:
        return
    parsed = parse_request(request.body(), "application/json")
    assert parsed.prompt.texts == request.texts and parsed.seed == request.seed
    assert parsed.prompt.n == (request.n or 1) and (parsed.prompt.loop is not None) == request.loop
    assert all(value == (getattr(request, name) or value) for name, value in vars(parsed.output).items())
    again = Request.from_body(json.loads(request.body()))
    assert again.body() == request.body()


def test_ranges_are_those_of_the_schema() -> None:
    properties = SCHEMA["properties"]["generation_params"]["properties"]
    described = {
        name: (field["minimum"], field["maximum"], field["type"] == "integer")
        for name, field in properties.items()
        if field["type"] != "boolean"
    }
    assert described == RANGES
    for name, values in (("format", FORMATS), ("normalization", NORMALIZATIONS)):
        assert tuple(SCHEMA["properties"][name]["enum"]) == values


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"unconditional_clips": 3, "texts": ("x",)},
            "one of texts, unconditional_clips and sections, got texts and unconditional_clips",
        ),
        ({"unconditional_clips": 17}, "unconditional_clips must be an integer from 1 to 16, got 17"),
        ({"texts": ("x",), "duration": 1, "max_new_tokens": 9}, "one of duration and max_new_tokens, got both"),
        ({"texts": ("\ud800",)}, "without lone surrogates"),
        ({"texts": ("x",), "bucket_name": 3}, "bucket_name must be a string, got 3"),
    ],
)
def test_wrong_request_names_field_value_and_what_is_allowed(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        Request(**fields)


@given(st.integers(1, 100), st.integers(0, 2**32 - 1))
def test_variations_are_as_many_as_asked_with_consecutive_seeds(count: int, seed: int) -> None:
    requests = list(variations(Request(texts=("x",), seed=seed), count))
    seeds = [((request.seed or 0) + index) % 2**32 for request in requests for index in range(request.clips)]
    assert seeds == [(seed + index) % 2**32 for index in range(count)]


@given(st.binary(max_size=50), st.text(max_size=9))
def test_job_id_is_an_inference_id_and_part_of_a_filename(body: bytes, salt: str) -> None:
    job = job_id(body, salt)
    assert parse_inference_id(job) == job == job_id(body, salt)
    assert len(f"{job}.out") == 32


SECTIONS = (Section("calm", 20), Section("loud", 0.5))


def test_sections_are_one_clip_under_their_texts() -> None:
    request = Request(sections=SECTIONS, n=2, seed=3)
    parsed = parse_request(request.body(), "application/json")
    assert [(part.text, part.frames) for part in parsed.prompt.sections] == [("calm", 1000), ("loud", 25)]
    assert request.clips == len(parsed.clip_specs("any")) == 2 and request.prompt(1) == "calm / loud"
    assert Request.from_body(json.loads(request.body())) == request


def test_each_clip_of_variations_has_its_text() -> None:
    request = Request(texts=("a", "b"), n=2)
    specs = parse_request(request.body(), "application/json").clip_specs("any")
    assert [request.prompt(index) for index in range(request.clips)] == [spec.text for spec in specs]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"sections": SECTIONS, "duration": 3}, "generation_params.duration must not be given with sections"),
        ({"sections": (Section("a", 200), Section("b", 101))}, "sections must give at most 300 s, got 301 s"),
        ({"sections": (Section("", 2),)}, r"sections\[0\].text must be a string"),
        ({"sections": (Section("a", 0),)}, r"sections\[0\].duration must be a number from 0.02 to 300, got 0"),
        (
            {"sections": (Section("a", 1),) * 17},
            "sections must be an array of 1 to 16 objects, got an array of 17 items",
        ),
        ({"texts": ("x",), "loop": True, "bars": 4}, "bpm must be given for a loop, got nothing"),
        ({"texts": ("x",), "loop": True, "bars": 4, "bpm": 90, "fade_in": 1}, "fade_in must not be given for a loop"),
    ],
)
def test_wrong_sections_and_loops_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        Request(**fields)
