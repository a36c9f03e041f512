"""The server and the engine under random and misbehaving clients: no request causes a 500 or stops the server."""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from botocore.exceptions import ClientError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import inference
from musicgen_serving.audio_download import AudioSource
from musicgen_serving.audio_input import AudioInput
from musicgen_serving.audio_upload import AudioStore
from musicgen_serving.http.invocation import Invocations
from musicgen_serving.http.music_fields import parse_generation_params
from musicgen_serving.http.server import ContainerServer
from musicgen_serving.http.tracking import RequestTracker
from musicgen_serving.model_loading import Model, read_checkpoint
from soak.container_client import ContainerClient
from tests.model_bundle.helpers.memory_log import MemoryLog
from tests.model_bundle.helpers.request_strategies import anything, requests


@pytest.fixture(scope="module")
def log() -> Any:
    return MemoryLog()


@pytest.fixture(scope="module")
def client(staged_musicgen: Path, generator: Any, log: Any) -> Iterator[ContainerClient]:
    """A client of a server that generates real clips, two requests at a time, and drops its uploads."""

    class NullS3:
        def put_object(self, **_: Any) -> None:
            pass

        def upload_fileobj(self, *_: Any, **__: Any) -> None:
            raise AssertionError("no clip is long")

        def get_object(self, **_: Any) -> None:
            raise AssertionError("no request names an object")

        def head_object(self, **_: Any) -> None:
            answer: Any = {"ResponseMetadata": {"HTTPStatusCode": 403}}
            raise ClientError(answer, "HeadObject")

    invocations = Invocations(log.log, max_concurrent_requests=2)
    server = ContainerServer("127.0.0.1", 0, invocations, log.log)
    server.start()
    store, tracker = AudioStore(NullS3(), ("out",)), RequestTracker(NullS3(), "out", log.log)
    audio_input = AudioInput(AudioSource(NullS3(), ()), generator.sampling_rate, generator.channels)
    invocations.serve(inference, Model(read_checkpoint(staged_musicgen), generator, store, tracker, audio_input))
    yield ContainerClient(server.port)
    server.stop()
    tracker.stop()


def shortened(request: Any) -> Any:
    """Return the request, limited to a short clip if it is valid, to keep the test fast."""
    try:
        params, _ = parse_generation_params(request["generation_params"])
    except Exception:
        return request
    if params.max_new_tokens > 8:
        request["generation_params"].pop("duration", None)
        request["generation_params"]["max_new_tokens"] = 8
    return request


def with_params(request: Any) -> Any:
    """Return the request with `generation_params`, so that `shortened` can limit them."""
    if isinstance(request, dict) and "texts" in request:
        return {"generation_params": {}, **cast("dict[str, Any]", request)}
    return cast("Any", request)


bodies = (
    requests.map(with_params).map(shortened).map(lambda request: json.dumps(request).encode())
    | anything.map(lambda value: json.dumps(value).encode())
    | st.binary(max_size=60)
    | st.text(max_size=60).map(lambda text: b'{"texts": [' + text.encode("utf-8", "surrogatepass"))
)


@settings(max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(bodies, st.sampled_from(["application/json", "application/octet-stream", None]))
def test_any_payload_returns_audio_or_one_sentence_and_never_500(
    client: ContainerClient, body: bytes, content_type: str | None
) -> None:
    """Only 400, as valid ones generate; each night `make fuzz` sends 30,000 to an engine of silence."""
    headers = {"Content-Type": content_type} if content_type else {}
    response = client.send("POST", "/invocations", body, headers)
    assert response.status in ({200, 400, 422} if content_type == "application/json" else {200, 415, 422})
    if response.status != 200:
        assert set(response.json) == {"error", "status"}
        assert response.json["error"]
        assert "\n" not in response.json["error"]


def test_the_engine_still_generates_after_random_payloads(client: ContainerClient) -> None:
    assert client.invoke({"texts": ["a"], "generation_params": {"max_new_tokens": 5}}).status == 200


def test_a_disconnected_client_frees_its_slots(client: ContainerClient, generator: Any, log: Any) -> None:
    body = json.dumps({"texts": ["a"] * 8, "generation_params": {"max_new_tokens": 1503}}).encode()
    head = b"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    head += b"X-Amzn-SageMaker-Inference-Id: leaver\r\nContent-Length: %d\r\n\r\n" % len(body)
    with socket.create_connection(("127.0.0.1", client.port)) as connection:
        connection.sendall(head + body)
        _wait_until(lambda: len(generator.batch.sequences) == 8)
    _wait_until(lambda: not generator.batch.sequences)
    (line,) = [line for line in log.events("invocation") if line["inference_id"] == "leaver"]
    assert line["status"] == 499
    assert line["seconds"] < 20


def test_refuses_a_third_request_while_two_generate(client: ContainerClient, generator: Any) -> None:
    body = {"texts": ["a"], "generation_params": {"max_new_tokens": 600}}
    statuses: list[int] = []
    threads = [threading.Thread(target=lambda: statuses.append(client.invoke(body).status)) for _ in range(2)]
    for thread in threads:
        thread.start()
    _wait_until(lambda: len(generator.batch.sequences) == 2)
    assert client.invoke({"texts": ["a"]}).status == 503
    for thread in threads:
        thread.join(60)
    assert statuses == [200, 200]


def _wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)
