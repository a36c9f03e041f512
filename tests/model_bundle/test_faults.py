"""The server with the engine in it, under what clients do: nothing makes it answer 500, and nothing ends it."""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import inference
from musicgen_serving.checkpoint import read_checkpoint
from musicgen_serving.invocation import Invocations
from musicgen_serving.parameters import parse_params
from musicgen_serving.prediction import Model
from musicgen_serving.server import ContainerServer
from musicgen_serving.store import AudioStore
from soak.bundle_client import BundleClient
from tests.model_bundle.helpers.memory_log import MemoryLog
from tests.model_bundle.helpers.request_strategies import anything, requests


@pytest.fixture(scope="module")
def log() -> Any:
    return MemoryLog()


@pytest.fixture(scope="module")
def client(staged_musicgen: Path, generator: Any, log: Any) -> Iterator[BundleClient]:
    """A client of a server that makes real clips, two requests at a time; what it uploads is dropped."""

    class Nowhere:
        def put_object(self, **_: Any) -> None:
            """Drop one object."""

    invocations = Invocations(log.log, max_concurrent_requests=2)
    server = ContainerServer("127.0.0.1", 0, invocations, max_payload_bytes=2**21, log=log.log)
    server.start()
    store = AudioStore(Nowhere(), ("out",))
    invocations.serve(inference, Model(read_checkpoint(staged_musicgen), generator, store))
    yield BundleClient(server.server_address[1])
    server.shutdown()
    server.server_close()


def shortened(request: Any) -> Any:
    """The request, made short where it is valid: it is the refusals that matter."""
    try:
        params = parse_params(request["generation_params"])
    except Exception:
        return request
    if params.max_new_tokens > 8:
        request["generation_params"].pop("duration", None)
        request["generation_params"]["max_new_tokens"] = 8
    return request


def with_params(request: Any) -> Any:
    """The request with its parameters spelt out, so that `shortened` can shorten it."""
    if isinstance(request, dict) and "texts" in request:
        return {"generation_params": {}, **cast("dict[str, Any]", request)}
    return cast("Any", request)


bodies = (
    requests.map(with_params).map(shortened).map(lambda request: json.dumps(request).encode())
    | anything.map(lambda value: json.dumps(value).encode())
    | st.binary(max_size=60)
    | st.text(max_size=60).map(lambda text: b'{"texts": [' + text.encode("utf-8", "surrogatepass"))
)


@settings(max_examples=1000, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(bodies)
def test_any_payload_is_answered_with_audio_or_with_one_sentence_and_never_500(
    client: BundleClient, body: bytes
) -> None:
    answer = client.invoke(body)
    assert answer.status in {200, 400, 422}
    if answer.status != 200:
        assert set(answer.json) == {"error"}
        assert answer.json["error"]
        assert "\n" not in answer.json["error"]


def test_after_all_that_the_engine_still_makes_clips(client: BundleClient) -> None:
    assert client.invoke({"texts": ["a"], "generation_params": {"max_new_tokens": 5}}).status == 200


def test_a_client_that_leaves_gives_its_slots_back(client: BundleClient, generator: Any, log: Any) -> None:
    body = json.dumps({"texts": ["a"] * 8, "generation_params": {"max_new_tokens": 1503}}).encode()
    head = b"POST /invocations HTTP/1.1\r\nContent-Type: application/json\r\n"
    head += b"X-Amzn-SageMaker-Inference-Id: leaver\r\nContent-Length: %d\r\n\r\n" % len(body)
    with socket.create_connection(("127.0.0.1", client.port)) as connection:
        connection.sendall(head + body)
        _until(lambda: len(generator.batch.sequences) == 8)
    _until(lambda: not generator.batch.sequences)
    (line,) = [line for line in log.events("invocation") if line["inference_id"] == "leaver"]
    assert line["status"] == 499
    assert line["seconds"] < 20


def test_a_third_request_is_refused_while_two_generate_and_both_are_answered(
    client: BundleClient, generator: Any
) -> None:
    body = {"texts": ["a"], "generation_params": {"max_new_tokens": 600}}
    statuses: list[int] = []
    threads = [threading.Thread(target=lambda: statuses.append(client.invoke(body).status)) for _ in range(2)]
    for thread in threads:
        thread.start()
    _until(lambda: len(generator.batch.sequences) == 2)
    assert client.invoke({"texts": ["a"]}).status == 503
    for thread in threads:
        thread.join(60)
    assert statuses == [200, 200]


def _until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.002)
