"""The container's port: every status of the contract over real connections, with hooks that need no model."""

import http.client
import io
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any, ClassVar

import pytest

from musicgen_serving.errors import InvalidRequestError
from musicgen_serving.invocation import Invocations
from musicgen_serving.request import MusicRequest, parse_request
from musicgen_serving.server import ContainerServer


class Predicted:
    """What the log says of a prediction."""

    summary: ClassVar = {"seeds": [7]}


class Hooks:
    """Parses as the bundle does; what it answers, and when, is the test's."""

    def __init__(self) -> None:
        self.answer = b'{"done": true}'
        self.failure: Exception | None = None
        self.entered = threading.Semaphore(0)
        self.go_on = threading.Event()
        self.go_on.set()
        self.inference_ids: list[str | None] = []

    def input_fn(self, input_data: bytes | str, content_type: str) -> MusicRequest:
        assert isinstance(input_data, bytes)
        return parse_request(input_data, content_type)

    def predict_fn(self, data: MusicRequest, model: Any, context: Any) -> Any:
        self.inference_ids.append(context.get_request_header(0, "X-Amzn-SageMaker-Inference-Id"))
        self.entered.release()
        assert self.go_on.wait(30)
        if self.failure:
            raise self.failure
        return Predicted()

    def output_fn(self, prediction: Any, accept: str) -> bytes:
        return self.answer


@pytest.fixture
def hooks() -> Hooks:
    return Hooks()


@pytest.fixture
def invocations(memory_log: Any) -> Invocations:
    return Invocations(memory_log.log, max_concurrent_requests=2)


@pytest.fixture
def client(invocations: Invocations, hooks: Hooks, memory_log: Any, http_client: Callable[[int], Any]) -> Iterator[Any]:
    """A client of a server that is ready."""
    server = ContainerServer("127.0.0.1", 0, invocations, max_payload_bytes=2 * 2**20, log=memory_log.log)
    server.start()
    invocations.serve(hooks, None)  # pyright: ignore[reportArgumentType]
    yield http_client(server.server_address[1])
    hooks.go_on.set()
    server.shutdown()
    server.server_close()


def test_ping_turns_from_503_to_200_when_the_model_serves(invocations: Invocations, client: Any, hooks: Hooks) -> None:
    invocations._serving = None  # pyright: ignore[reportPrivateUsage]  # as before loading
    assert client.send("GET", "/ping").status == 503
    refused = client.invoke({"texts": ["a"]})
    assert (refused.status, refused.headers["Retry-After"]) == (503, "5")
    invocations.serve(hooks, None)  # pyright: ignore[reportArgumentType]
    assert client.send("GET", "/ping").status == 200


def test_answers_with_body_type_and_length(client: Any) -> None:
    answer = client.invoke({"texts": ["a"]})
    assert (answer.status, answer.json) == (200, {"done": True})
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["Content-Length"] == str(len(answer.body))


@pytest.mark.parametrize("accept", ["audio/wav", "audio/*", "image/png, audio/wav;q=0.5"])
def test_answers_50_megabytes_of_audio(client: Any, hooks: Hooks, accept: str) -> None:
    hooks.answer = b"RIFF" * (50 * 2**20 // 4)
    answer = client.invoke({"texts": ["a"]}, Accept=accept)
    assert (answer.status, answer.headers["Content-Type"]) == (200, "audio/wav")
    assert answer.body == hooks.answer


STATUSES: dict[str, tuple[bytes, dict[str, str], int, str]] = {
    "malformed": (b'{"texts"', {}, 400, "body must be JSON, got an error at line 1 column 9: expecting ':' delimiter"),
    "accept": (b"{}", {"Accept": "image/png"}, 406, 'Accept must be application/json or audio/wav, got "image/png"'),
    "large JSON": (b" " * (2**20 + 1), {}, 413, "body must be at most 1048576 bytes of JSON, got 1048577"),
    "large body": (b" " * (2**21 + 1), {}, 413, "body must be at most 2097152 bytes, got 2097153"),
    "type": (b"{}", {"Content-Type": "text/plain"}, 415, 'Content-Type must be application/json, got "text/plain"'),
    "invalid": (b'{"texts": []}', {}, 422, "texts must be an array of 1 to 16 strings, got an array of 0 items"),
    "inference id": (
        b'{"texts": ["a"]}',
        {"X-Amzn-SageMaker-Inference-Id": "../models"},
        422,
        "X-Amzn-SageMaker-Inference-Id must be 1 to 64 letters, digits, dots, dashes and underscores, "
        'a letter or digit first, got "../models"',
    ),
}


@pytest.mark.parametrize("case", STATUSES)
def test_refuses_with_the_contracts_status_and_one_sentence(client: Any, case: str) -> None:
    body, headers, status, sentence = STATUSES[case]
    answer = client.send("POST", "/invocations", io.BytesIO(body), _framed(body, headers))
    assert (answer.status, answer.json) == (status, {"error": sentence})


def _framed(body: bytes, headers: dict[str, str]) -> dict[str, str]:
    return {"Content-Type": "application/json", "Content-Length": str(len(body)), **headers}


def test_a_fault_is_500_with_an_id_to_find_in_the_log(client: Any, hooks: Hooks, memory_log: Any) -> None:
    hooks.failure = RuntimeError("secret detail")
    answer = client.invoke({"texts": ["a"]})
    assert (answer.status, answer.json["error"]) == (500, "the request could not be completed: RuntimeError")
    (line,) = memory_log.events("fault")
    assert line["error_id"] == answer.json["error_id"]
    assert "secret detail" in line["traceback"]


def test_a_refusal_in_the_middle_of_generation_keeps_its_status(client: Any, hooks: Hooks) -> None:
    hooks.failure = InvalidRequestError("texts[0] must be at most 512 tokens, got 700")
    assert client.invoke({"texts": ["a"]}).status == 422


def test_a_third_request_beside_two_is_refused_and_room_comes_back(client: Any, hooks: Hooks) -> None:
    hooks.go_on.clear()
    statuses: list[int] = []
    threads = [
        threading.Thread(target=lambda: statuses.append(client.invoke({"texts": ["a"]}).status)) for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    assert all(hooks.entered.acquire(timeout=30) for _ in threads)
    refused = client.invoke({"texts": ["a"]})
    assert (refused.status, refused.headers["Retry-After"]) == (503, "5")
    assert refused.json == {"error": "requests in flight must be at most 2, got one more"}
    hooks.go_on.set()
    for thread in threads:
        thread.join(30)
    assert [*statuses, client.invoke({"texts": ["a"]}).status] == [200, 200, 200]


def test_reads_a_chunked_body(client: Any) -> None:
    chunks = iter([b'{"texts": ', b'["a"]}'])
    assert client.send("POST", "/invocations", chunks, {"Content-Type": "application/json"}).status == 200


def test_takes_the_inference_id_from_the_header_or_draws_one(client: Any, hooks: Hooks) -> None:
    client.invoke({"texts": ["a"]}, X_Amzn_SageMaker_Inference_Id="my-id")
    client.invoke({"texts": ["a"]})
    named, drawn = hooks.inference_ids
    assert named == "my-id"
    assert drawn is not None
    assert len(drawn) == 36


@pytest.mark.parametrize("method_and_path", [("GET", "/"), ("POST", "/ping"), ("GET", "/invocations")])
def test_other_paths_are_404(client: Any, method_and_path: tuple[str, str]) -> None:
    assert client.send(*method_and_path).status == 404


def test_survives_a_client_that_leaves(client: Any, hooks: Hooks, memory_log: Any) -> None:
    hooks.answer = b"x" * (50 * 2**20)
    with socket.create_connection(("127.0.0.1", client.port)) as connection:
        connection.sendall(
            b"POST /invocations HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{"
        )
    body = json.dumps({"texts": ["a"]}).encode()
    with socket.create_connection(("127.0.0.1", client.port)) as connection:
        head = f"POST /invocations HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        connection.sendall(head.encode() + body)
        assert hooks.entered.acquire(timeout=30)
    assert client.invoke({"texts": ["a"]}).status == 200
    assert memory_log.events("connection_fault") == []


def test_serves_request_after_request_on_one_connection(client: Any) -> None:
    with closing(http.client.HTTPConnection("127.0.0.1", client.port, timeout=30)) as connection:
        connection.connect()
        first_socket = connection.sock
        for body in (b'{"texts": ["a"]}', b'{"texts": []}', b'{"texts": ["a"]}'):
            connection.request("POST", "/invocations", body, {"Content-Type": "application/json"})
            assert connection.getresponse().read()
        assert connection.sock is first_socket


def test_logs_one_line_an_invocation(client: Any, memory_log: Any) -> None:
    client.invoke({"texts": ["a"]}, X_Amzn_SageMaker_Inference_Id="my-id")
    (line,) = memory_log.events("invocation")
    assert (line["inference_id"], line["status"], line["seeds"]) == ("my-id", 200, [7])
