"""The HTTP server over real connections, with hooks that need no model: every status of the contract."""

import http.client
import io
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any, ClassVar

import pytest

from musicgen_serving.engine.errors import (
    EngineStoppedError,
    NonFiniteError,
    PromptTooLongError,
    QueueFullError,
    RequestAbandonedError,
)
from musicgen_serving.http.errors import InvalidRequestError
from musicgen_serving.http.invocation import Invocations
from musicgen_serving.http.negotiation import RequestContext
from musicgen_serving.http.request import MusicRequest, parse_request
from musicgen_serving.http.server import ContainerServer


class Predicted:
    """A prediction with a log summary and nothing else."""

    summary: ClassVar = {"seeds": [7]}


class Hooks:
    """Parses as the bundle does; the test controls the response and when it is ready."""

    def __init__(self) -> None:
        self.response = b'{"done": true}'
        self.failure: Exception | None = None
        self.entered = threading.Semaphore(0)
        self.proceed = threading.Event()
        self.proceed.set()
        self.inference_ids: list[str] = []

    def input_fn(self, input_data: bytes | str, content_type: str) -> MusicRequest:
        assert isinstance(input_data, bytes)
        return parse_request(input_data, content_type)

    def predict_fn(self, data: MusicRequest, model: Any, context: RequestContext) -> Any:
        self.inference_ids.append(context.inference_id)
        self.entered.release()
        assert self.proceed.wait(30)
        if self.failure:
            raise self.failure
        return Predicted()

    def output_fn(self, prediction: Any, accept: str) -> bytes:
        return self.response


@pytest.fixture
def hooks() -> Hooks:
    return Hooks()


@pytest.fixture
def invocations(memory_log: Any) -> Invocations:
    return Invocations(memory_log.log, max_concurrent_requests=2)


@pytest.fixture
def client(invocations: Invocations, hooks: Hooks, memory_log: Any, http_client: Callable[[int], Any]) -> Iterator[Any]:
    """A client of a server that is ready."""
    server = ContainerServer("127.0.0.1", 0, invocations, memory_log.log)
    server.start()
    invocations.serve(hooks, None)  # pyright: ignore[reportArgumentType]
    yield http_client(server.port)
    hooks.proceed.set()
    server.stop()


def test_ping_changes_from_503_to_200_once_the_model_is_loaded(
    invocations: Invocations, client: Any, hooks: Hooks
) -> None:
    invocations._serving = None  # pyright: ignore[reportPrivateUsage]  # as before loading
    assert client.send("GET", "/ping").status == 503
    refused = client.invoke({"texts": ["a"]})
    assert (refused.status, refused.headers["Retry-After"]) == (503, "5")
    assert refused.json == {"error": "model is still loading; retry", "status": 503}
    invocations.serve(hooks, None)  # pyright: ignore[reportArgumentType]
    assert client.send("GET", "/ping").status == 200


def test_returns_body_content_type_and_length(client: Any) -> None:
    response = client.invoke({"texts": ["a"]})
    assert (response.status, response.json) == (200, {"done": True})
    assert response.headers["Content-Type"] == "application/json"
    assert response.headers["Content-Length"] == str(len(response.body))


@pytest.mark.parametrize("accept", ["audio/wav", "audio/*", "image/png, audio/wav;q=0.5"])
def test_returns_50_megabytes_of_audio(client: Any, hooks: Hooks, accept: str) -> None:
    hooks.response = b"RIFF" * (50 * 2**20 // 4)
    response = client.invoke({"texts": ["a"]}, Accept=accept)
    assert (response.status, response.headers["Content-Type"]) == (200, "audio/wav")
    assert response.body == hooks.response


STATUSES: dict[str, tuple[bytes, dict[str, str], int, str]] = {
    "malformed": (b'{"texts"', {}, 400, "body must be JSON, got an error at line 1 column 9: expecting ':' delimiter"),
    "accept": (b"{}", {"Accept": "image/png"}, 406, 'Accept must be application/json or audio/wav, got "image/png"'),
    "large JSON": (b" " * (8 * 2**20 + 1), {}, 413, "body must be at most 8388608 bytes of JSON, got 8388609"),
    "type": (b"{}", {"Content-Type": "text/plain"}, 415, 'Content-Type must be application/json, got "text/plain"'),
    "no type": (
        b"RIFF",
        {"Content-Type": "application/octet-stream"},
        415,
        'Content-Type must be application/json unless the body is a JSON object, got "application/octet-stream"; '
        "body must be JSON, got an error at line 1 column 1: expecting value",
    ),
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
def test_rejects_with_the_contracts_status_and_one_sentence(client: Any, case: str) -> None:
    body, headers, status, sentence = STATUSES[case]
    response = client.send("POST", "/invocations", io.BytesIO(body), _framed(body, headers))
    assert (response.status, response.json) == (status, {"error": sentence, "status": status})


def _framed(body: bytes, headers: dict[str, str]) -> dict[str, str]:
    return {"Content-Type": "application/json", "Content-Length": str(len(body)), **headers}


def test_a_fault_returns_500_with_an_id_that_is_in_the_log(client: Any, hooks: Hooks, memory_log: Any) -> None:
    hooks.failure = RuntimeError("secret detail")
    response = client.invoke({"texts": ["a"]})
    assert (response.status, response.json["error"]) == (500, "the request could not be completed: RuntimeError")
    (line,) = memory_log.events("fault")
    assert line["error_id"] == response.json["error_id"]
    assert "secret detail" in line["traceback"]


@pytest.mark.parametrize(
    ("failure", "status", "sentence"),
    [
        (InvalidRequestError("texts must be short, got long"), 422, "texts must be short, got long"),
        (PromptTooLongError(0, 700, 512), 422, "texts[0] must be at most 512 tokens, got 700"),
        (RequestAbandonedError(), 499, str(RequestAbandonedError())),
        (QueueFullError(17, 16), 503, str(QueueFullError(17, 16))),
        (EngineStoppedError(), 503, "the engine has stopped; retry"),
        (NonFiniteError("samples"), 500, f"the request could not be completed: {NonFiniteError('samples')}"),
    ],
)
def test_maps_errors_during_generation_to_statuses(
    client: Any, hooks: Hooks, failure: Exception, status: int, sentence: str
) -> None:
    hooks.failure = failure
    response = client.invoke({"texts": ["a"]})
    assert (response.status, response.json["error"]) == (status, sentence)
    assert response.headers["Retry-After"] == ("5" if status == 503 else None)


def test_refuses_a_third_concurrent_request_until_one_finishes(client: Any, hooks: Hooks) -> None:
    hooks.proceed.clear()
    statuses: list[int] = []
    threads = [
        threading.Thread(target=lambda: statuses.append(client.invoke({"texts": ["a"]}).status)) for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    assert all(hooks.entered.acquire(timeout=30) for _ in threads)
    refused = client.invoke({"texts": ["a"]})
    assert (refused.status, refused.headers["Retry-After"]) == (503, "5")
    assert refused.json == {"error": "too many concurrent requests (limit 2)", "status": 503}
    hooks.proceed.set()
    for thread in threads:
        thread.join(30)
    assert [*statuses, client.invoke({"texts": ["a"]}).status] == [200, 200, 200]


def test_as_many_requests_as_a_gpu_has_slots_are_answered_at_once(
    hooks: Hooks, memory_log: Any, http_client: Callable[[int], Any]
) -> None:
    """32 is the most that `max_concurrent_requests` is derived as; /ping and refusals have threads of their own."""
    invocations = Invocations(memory_log.log, max_concurrent_requests=32)
    server = ContainerServer("127.0.0.1", 0, invocations, memory_log.log)
    server.start()
    invocations.serve(hooks, None)  # pyright: ignore[reportArgumentType]
    client = http_client(server.port)
    hooks.proceed.clear()
    with ThreadPoolExecutor(32) as pool:
        running = [pool.submit(lambda: client.invoke({"texts": ["a"]}).status) for _ in range(32)]
        assert all(hooks.entered.acquire(timeout=30) for _ in running)
        assert client.invoke({"texts": ["a"]}).json == {
            "error": "too many concurrent requests (limit 32)",
            "status": 503,
        }
        assert client.send("GET", "/ping").status == 200
        hooks.proceed.set()
        assert [one.result() for one in running] == [200] * 32
    server.stop()


@pytest.mark.parametrize("headers", [{}, {"Content-Type": "application/octet-stream"}])
def test_accepts_json_of_a_client_that_names_no_type(client: Any, headers: dict[str, str]) -> None:
    """The SageMaker SDK's AsyncPredictor is one."""
    assert client.send("POST", "/invocations", b'{"texts": ["a"]}', headers).status == 200


def test_reads_a_chunked_body(client: Any) -> None:
    chunks = iter([b'{"texts": ', b'["a"]}'])
    assert client.send("POST", "/invocations", chunks, {"Content-Type": "application/json"}).status == 200


def test_takes_the_inference_id_from_the_header_or_generates_one(client: Any, hooks: Hooks) -> None:
    client.invoke({"texts": ["a"]}, X_Amzn_SageMaker_Inference_Id="my-id")
    client.invoke({"texts": ["a"]})
    named, generated = hooks.inference_ids
    assert named == "my-id"
    assert len(generated) == 36


def test_other_paths_return_404(client: Any) -> None:
    assert client.send("GET", "/").status == 404


@pytest.mark.parametrize(("method", "path", "allow"), [("POST", "/ping", "GET"), ("GET", "/invocations", "POST")])
def test_other_methods_return_405_and_the_allowed_one(client: Any, method: str, path: str, allow: str) -> None:
    response = client.send(method, path)
    assert (response.status, response.headers["Allow"]) == (405, allow)
    assert response.json == {"error": f"method must be {allow} for {path}", "status": 405}


def test_survives_a_client_that_disconnects(client: Any, hooks: Hooks, memory_log: Any) -> None:
    hooks.response = b"x" * (50 * 2**20)
    with socket.create_connection(("127.0.0.1", client.port)) as connection:
        connection.sendall(
            b"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{"
        )
    body = json.dumps({"texts": ["a"]}).encode()
    with socket.create_connection(("127.0.0.1", client.port)) as connection:
        head = b"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        connection.sendall(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        assert hooks.entered.acquire(timeout=30)
    assert client.invoke({"texts": ["a"]}).status == 200
    assert memory_log.events("connection_fault") == []


def test_serves_several_requests_on_one_connection(client: Any) -> None:
    with closing(http.client.HTTPConnection("127.0.0.1", client.port, timeout=30)) as connection:
        connection.connect()
        first_socket = connection.sock
        for body in (b'{"texts": ["a"]}', b'{"texts": []}', b'{"texts": ["a"]}'):
            connection.request("POST", "/invocations", body, {"Content-Type": "application/json"})
            assert connection.getresponse().read()
        assert connection.sock is first_socket


def test_logs_one_line_per_invocation(client: Any, memory_log: Any) -> None:
    client.invoke({"texts": ["a"]}, X_Amzn_SageMaker_Inference_Id="my-id")
    (line,) = memory_log.events("invocation")
    assert (line["inference_id"], line["status"], line["seeds"]) == ("my-id", 200, [7])


def test_ends_the_process_if_its_thread_dies_of_a_bug(
    invocations: Invocations, memory_log: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    died = threading.Event()
    server = ContainerServer("127.0.0.1", 0, invocations, memory_log.log, on_death=died.set)

    def fail(client: socket.socket) -> None:
        client.close()
        raise RuntimeError("a bug")

    monkeypatch.setattr(server, "_serve", fail)
    server.start()
    socket.create_connection(("127.0.0.1", server.port)).close()
    assert died.wait(30)
    (line,) = memory_log.events("server_died")
    assert line["error"] == "RuntimeError: a bug"


def test_ends_the_process_if_anything_but_stop_cancels_its_thread(invocations: Invocations, memory_log: Any) -> None:
    died = threading.Event()
    server = ContainerServer("127.0.0.1", 0, invocations, memory_log.log, on_death=died.set)
    server.start()
    server._cancel()  # pyright: ignore[reportPrivateUsage]
    assert died.wait(30) and len(memory_log.events("server_died")) == 1


def test_does_not_end_the_process_when_stopped(invocations: Invocations, memory_log: Any) -> None:
    died = threading.Event()
    server = ContainerServer("127.0.0.1", 0, invocations, memory_log.log, on_death=died.set)
    server.start()
    server.stop()
    assert not died.is_set() and memory_log.events("server_stopped") and not memory_log.events("server_died")


def test_a_worker_whose_server_has_died_exits_with_1() -> None:
    code = (
        "import sys, threading; from musicgen_serving.http.server import ContainerServer\n"
        "from musicgen_serving.http.invocation import Invocations; from musicgen_serving.json_log import JsonLog\n"
        "log = JsonLog.to(None); server = ContainerServer('127.0.0.1', 0, Invocations(log, 1), log)\n"
        "server.start(); server._cancel(); threading.Event().wait()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=dict(os.environ), capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1 and "server_died" in done.stdout + done.stderr
