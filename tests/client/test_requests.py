"""Requests: the client refuses what the container refuses, with the same sentence, and nothing else."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from musicgen_client import Excerpt
from musicgen_client.errors import InvalidRequest
from musicgen_client.requests.request import (
    FORMATS,
    MAX_BODY_BYTES,
    NORMALIZATIONS,
    RANGES,
    Request,
    Section,
    job_id,
    title,
    variations,
)
from musicgen_serving.http.errors import InvalidRequestError
from musicgen_serving.http.negotiation import parse_inference_id
from musicgen_serving.http.request import MAX_JSON_BYTES, parse_request

SCHEMA = json.loads((Path(__file__).parents[2] / "docs" / "request.schema.json").read_text(encoding="utf-8"))
numbers = st.one_of(
    st.integers(-5, 3000),
    st.floats(-5, 40, allow_nan=False),
    st.sampled_from([math.nan, 2**32, True, "7"]),
)
EXCERPT: dict[str, Any] = {"s3": "s3://inputs/in/a.wav"}
sources = st.sampled_from(
    [
        {},
        EXCERPT,
        {"base64": "UklG"},
        {"base64": "UklG", **EXCERPT},
        *({"s3": url} for url in ("https://a/b.wav", "s3://inputs", "s3://inputs/a\n", "s3://inputs/\ud800", "", 3)),
        *({"base64": text} for text in ("", "UklGR", "Ukl\u00e9", "Ukl G", "====", 3)),
    ]
)
times = numbers | st.floats(0, 30) | st.sampled_from([0, 0.02, 25, 25.5, 120, 121, 600, 601])


def make_excerpt(source: dict[str, Any], when: dict[str, Any]) -> Excerpt:
    return Excerpt(**source, **when)


excerpts = st.builds(make_excerpt, sources, st.fixed_dictionaries({}, optional={"start": times, "end": times}))
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
        "continuation": excerpts,
        "return_excerpt": st.sampled_from([True, False, 1]),
        "melody": excerpts,
        "loop": st.booleans(),
        "bpm": numbers | st.just(120),
        "bars": numbers | st.just(4),
        **{name: numbers for name in RANGES},
    },
).map(
    lambda fields: {
        name: value for name, value in fields.items() if name != "return_excerpt" or "continuation" in fields
    }
)


def as_json(excerpt: Excerpt) -> dict[str, Any]:
    """Return an excerpt as a request has it, valid or not."""
    given = {name: value for name, value in vars(excerpt).items() if value is not None}
    audio = {name: given.pop(name) for name in ("s3", "base64") if name in given}
    return {"audio": audio, **given}


def container(fields: dict[str, Any]) -> str | None:
    """Return the container's sentence about a request, None if it accepts it."""
    params = {name: value for name, value in fields.items() if name in (*RANGES, "do_sample")}
    body = {name: value for name, value in fields.items() if name not in params}
    body |= {name: as_json(body[name]) for name in ("continuation", "melody") if name in body}
    if "return_excerpt" in body:
        kept = {"return_excerpt": body.pop("return_excerpt")}
        body["continuation"] = {**body.get("continuation", {"audio": EXCERPT}), **kept}
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
    audio = (parsed.continuation and parsed.continuation.excerpt, parsed.melody)
    for ours, theirs in zip((request.continuation, request.melody), audio, strict=True):
        assert (ours is None) == (theirs is None)
        if ours is not None and theirs is not None:
            assert (theirs.s3, theirs.start, theirs.end) == (ours.s3, ours.start, ours.end)
            assert theirs.data == (b"" if ours.base64 is None else b"RIF")
    if parsed.continuation is not None:
        assert parsed.continuation.return_excerpt == (request.return_excerpt is not False)
    again = Request.from_body(json.loads(request.body()))
    assert again == request and again.body() == request.body()


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
        (
            {"texts": ("x",), "loop": True, "bars": 4, "bpm": 90, "continuation": Excerpt(**EXCERPT)},
            "continuation must not be given for a loop, got an object",
        ),
    ],
)
def test_wrong_sections_and_loops_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        Request(**fields)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"continuation": Excerpt(**EXCERPT, end=26)}, "end must be after start, by at most 25 s, got 0.0 to 26.0"),
        ({"melody": Excerpt(**EXCERPT, start=2, end=123)}, "must be after start, by at most 120 s, got 2.0 to 123.0"),
        ({"melody": Excerpt()}, "melody.audio must have one of s3 and base64, got 0"),
        ({"melody": Excerpt(s3="https://a/b.wav")}, 'melody.audio.s3 must be s3://bucket/key, got "https://a/b.wav"'),
        ({"continuation": Excerpt(base64="UklGR")}, 'base64 must be base64 of RFC 4648 with padding, got "UklGR"'),
        ({"return_excerpt": True}, "continuation must be given for return_excerpt to have a meaning"),
    ],
)  # fmt: skip
def test_wrong_audio_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        Request(texts=("x",), **fields)
    assert message in str(refused.value)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"melody": {"audio": EXCERPT, "n": 1}}, 'melody must have no field but audio, start, end, got "n"'),
        ({"melody": {"audio": {"url": "x"}}}, 'melody.audio must have no field but s3, base64, got "url"'),
        ({"continuation": {}}, 'continuation.audio must be an object with "s3" or "base64", got nothing'),
        ({"continuation": 3}, "continuation must be an object, got 3"),
        ({"return_excerpt": True}, 'got "return_excerpt"'),
    ],
)  # fmt: skip
def test_body_with_wrong_audio_is_refused_as_the_container_does(body: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        Request.from_body({"texts": ["x"], **body})
    with pytest.raises(InvalidRequestError) as theirs:
        parse_request(json.dumps({"texts": ["x"], **body}).encode(), "application/json")
    assert message in str(refused.value) and message in str(theirs.value)


def test_body_may_have_as_many_bytes_as_the_container_takes() -> None:
    assert MAX_BODY_BYTES == MAX_JSON_BYTES
    audio = Excerpt(base64="A" * (MAX_BODY_BYTES - 1024))
    assert len(parse_request(Request(texts=("x",), melody=audio).body(), "application/json").prompt.texts) == 1
    with pytest.raises(InvalidRequest, match="body must be at most 8388608 bytes of JSON"):
        Request(texts=("x",), melody=Excerpt(base64="A" * MAX_BODY_BYTES)).body()


def test_variations_of_sections_are_counted_by_n() -> None:
    first, second = variations(Request(sections=SECTIONS, seed=3), 18)
    assert (first.n, first.seed, second.n, second.seed) == (16, 3, 2, 19)
    assert first.sections == SECTIONS and second.clips == 2


def test_title_of_a_body_is_its_first_text() -> None:
    requests = (Request(texts=("a", "b")), Request(sections=SECTIONS), Request(unconditional_clips=2))
    assert [title(json.loads(request.body())) for request in requests] == ["a", "calm / loud", ""]
