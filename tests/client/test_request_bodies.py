"""Whole bodies: the client refuses what the container refuses, limits on all clips together included."""

import json
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from musicgen_client.errors import InvalidRequest
from musicgen_client.requests.request import Request, Section, variations
from musicgen_serving.http.errors import InvalidRequestError
from musicgen_serving.http.request import parse_request
from tests.model_bundle.helpers.request_strategies import requests

SOUND: dict[str, Any] = {"audio": {"s3": "s3://inputs/in/a.wav"}}
lengths = st.floats(0.02, 300) | st.integers(1, 300) | st.sampled_from([37.5, 37.52, 100, 200, 200.01, 299.999])
params = st.fixed_dictionaries(
    {}, optional={"stride": st.sampled_from([1, 18, 29]), "seed": st.just(7), "do_sample": st.booleans()}
)
sized = st.fixed_dictionaries({"duration": lengths}) | st.fixed_dictionaries({"max_new_tokens": st.integers(4, 1503)})
texts = st.lists(st.sampled_from(["calm piano", "waltz, 90 bpm"]), min_size=1, max_size=16)
loop = st.fixed_dictionaries(
    {"loop": st.just(True), "bpm": st.integers(30, 300) | st.floats(30, 300), "bars": st.integers(1, 64)}
)
sections = st.lists(st.fixed_dictionaries({"text": st.just("a"), "duration": lengths}), min_size=1, max_size=16)
audio = st.fixed_dictionaries({}, optional={"melody": st.just(SOUND)})
continued = st.fixed_dictionaries({}, optional={"melody": st.just(SOUND), "continuation": st.just(SOUND)})
counted = st.fixed_dictionaries({}, optional={"n": st.integers(1, 16)})


def merge(parts: tuple[dict[str, Any], ...]) -> dict[str, Any]:
    """Return one body of its parts; their generation parameters are put together."""
    whole: dict[str, Any] = {}
    params: dict[str, Any] = {}
    for part in parts:
        whole.update(part)
        params.update(part.get("generation_params", {}))
    return {**whole, "generation_params": params}


def with_params(strategy: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    return strategy.map(lambda params: {"generation_params": params})


texts_given = st.fixed_dictionaries({"texts": texts})
# Each field is valid; what may be wrong is the length of a clip, or of all of them.
long_bodies = st.one_of(
    st.tuples(texts_given, counted, continued, with_params(params), with_params(sized)),
    st.tuples(texts_given, counted, audio, loop, with_params(params)),
    st.tuples(st.fixed_dictionaries({"sections": sections}), counted, continued, with_params(params)),
    st.tuples(
        st.fixed_dictionaries({"unconditional_clips": st.integers(1, 16)}), audio, with_params(params),
        with_params(sized),
    ),
).map(merge)  # fmt: skip


def spoil(body: dict[str, Any], other: dict[str, Any], names: set[str]) -> dict[str, Any]:
    """Return a body in which these fields are those of another."""
    return {**body, **{name: value for name, value in other.items() if name in names}}


# Up to three fields of a valid body have values of any kind, or do not belong to it.
wrong_bodies = st.builds(
    spoil,
    long_bodies | st.sampled_from([{"texts": ["a"]}, {"unconditional_clips": 2}]),
    requests,
    st.sets(st.sampled_from(["unknown", *Request.__dataclass_fields__, "generation_params"]), max_size=3),
)


def container(body: dict[str, Any]) -> str | None:
    """Return the container's sentence about a body, None if it accepts it."""
    try:
        parsed = parse_request(json.dumps(body).encode(), "application/json")
        parsed.prompt.check_length(parsed.params)
    except InvalidRequestError as error:
        return str(error)
    return None


def client(body: dict[str, Any]) -> str | None:
    """Return the client's sentence about a body, None if it accepts it."""
    try:
        Request.from_body(body)
    except InvalidRequest as error:
        return str(error)
    return None


def stated(body: dict[str, Any]) -> dict[str, Any]:
    """Return a body without the values that a Request has for fields that are not given: false, 0 or an empty array."""
    unset: dict[str, object] = {name: field.default for name, field in Request.__dataclass_fields__.items()}

    def says_nothing(name: str, value: object) -> bool:
        default = unset.get(name)
        if default is None or default is False:
            return value is False and default is False
        return value == ([] if default == () else default)

    return {name: value for name, value in body.items() if not says_nothing(name, value)}


@settings(max_examples=200, deadline=None)
@given(long_bodies)
@example({"texts": ["a"], "n": 4, "generation_params": {"duration": 200}})
@example({"sections": [{"text": "a", "duration": 0.029}] * 2 + [{"text": "b", "duration": 299.97}]})
@example({"sections": [{"text": "a", "duration": 0.0305}] * 2 + [{"text": "b", "duration": 299.939}]})
@example({"texts": ["a"], "loop": True, "bpm": 30, "bars": 64})
@example({"texts": ["a"], "n": 2, "loop": True, "bpm": 30.72, "bars": 38.4})
def test_client_refuses_lengths_that_the_container_refuses_with_its_sentence(body: dict[str, Any]) -> None:
    assert client(body) == container(body)


@settings(max_examples=300, deadline=None)
@given(wrong_bodies)
@example({"texts": ["a"], "duration": 3})
@example({"texts": ["a"], "n": None})
@example({"texts": "calm piano"})
@example({"sections": [{"text": "a"}]})
@example({"texts": ["a"], "unconditional_clips": 0})
@example({"texts": ["a"], "unconditional_clips": []})
@example({"texts": ["a"], "generation_params": [1]})
def test_client_refuses_the_bodies_that_the_container_refuses(body: dict[str, Any]) -> None:
    """But for fields that say nothing (`stated`): a Request does not keep them, so the client does not send them."""
    ours = client(body)
    assert (ours is None) == (container(stated(body)) is None), ours
    if ours is None:
        assert container(json.loads(Request.from_body(body).body())) is None


@given(st.integers(1, 40), lengths)
def test_variations_ask_for_no_more_audio_than_a_request_may_have(count: int, seconds: float) -> None:
    requests = list(variations(Request(texts=("x",), duration=seconds, seed=0), count))
    assert sum(request.clips for request in requests) == count
    assert [request.seed for request in requests[1:]] == [
        request.clips * (i + 1) for i, request in enumerate(requests)
    ][:-1]
    assert all(container(json.loads(request.body())) is None for request in requests)


def test_four_clips_of_200_seconds_are_three_and_one() -> None:
    parts = tuple(Section(text, 100) for text in ("calm", "loud"))
    for request in (
        Request(texts=("x",), duration=200),
        Request(sections=parts),
        Request(unconditional_clips=1, duration=200),
    ):
        assert [part.clips for part in variations(request, 4)] == [3, 1]
