"""Containers whose answers are too large, empty, cut short, chunked or late, through boto3, with fake containers."""

from typing import Any

import pytest

from conformance.behaviour import documented

DG = "https://docs.aws.amazon.com/sagemaker/latest/dg/"
GUIDE = DG + "async-inference.html"
CONTAINER = DG + "your-algorithms-inference-code.html"
INVOKE = "https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_runtime_InvokeEndpointAsync.html"
MEGABYTE = 1_000_000


@documented(GUIDE)
@pytest.mark.parametrize("size", [6 * MEGABYTE, 101 * MEGABYTE])
def test_a_large_answer_is_uploaded_whole(endpoint: Any, size: int) -> None:
    """Asynchronous Inference is ideal for large payload sizes (up to 1GB)."""
    answer = endpoint.invoke({"size": size})
    endpoint.await_object(answer["OutputLocation"])
    bucket, _, key = answer["OutputLocation"].removeprefix("s3://").partition("/")
    assert endpoint.s3.head_object(Bucket=bucket, Key=key)["ContentLength"] == size
    assert endpoint.messages(1)[0]["invocationStatus"] == "Completed"


@documented(GUIDE)
def test_an_answer_of_more_than_a_gigabyte_fails_the_request(endpoint: Any) -> None:
    """Payloads have up to 1GB."""
    answer = endpoint.invoke({"size": 10, "length": 2**30 + 1})
    assert b"must have at most" in endpoint.await_object(answer["FailureLocation"])
    assert endpoint.object(answer["OutputLocation"]) is None


@documented(CONTAINER, unknown="AWS does not say whether an empty answer is a result; here it is, an empty object")
def test_an_empty_answer_is_an_empty_object(endpoint: Any) -> None:
    """SageMaker passes the request to the container, and returns the inference result from the container."""
    answer = endpoint.invoke({"size": 0})
    assert endpoint.messages(1)[0]["invocationStatus"] == "Completed"
    assert endpoint.object(answer["OutputLocation"]) == b""


@documented(CONTAINER, unknown="AWS documents no retries; here a broken answer is tried three times, then fails")
def test_an_answer_that_is_cut_short_fails_the_request(endpoint: Any, world: Any) -> None:
    """SageMaker passes the request to the container: an answer shorter than its Content-Length is none."""
    answer = endpoint.invoke({"size": 10, "length": 20})
    assert endpoint.await_object(answer["FailureLocation"])
    assert endpoint.object(answer["OutputLocation"]) is None
    assert len(world.received) == 3
    assert [message["invocationStatus"] for message in endpoint.messages(1)] == ["Failed"]


@documented(CONTAINER, unknown="AWS documents no such rule; public reports have 'the required Content-Length header'")
def test_a_chunked_answer_fails_the_request(endpoint: Any, world: Any) -> None:
    """SageMaker passes the request to the container: an asynchronous answer must say how long it is."""
    answer = endpoint.invoke({"chunked": True})
    assert b"Content-Length" in endpoint.await_object(answer["FailureLocation"])
    assert len(world.received) == 1


@documented(INVOKE)
def test_an_answer_after_the_timeout_is_not_used(endpoint: Any) -> None:
    """InvocationTimeoutSeconds is how long a request can be processed before it is marked as expired."""
    answer = endpoint.invoke({"sleep": 3}, InvocationTimeoutSeconds=1)
    assert b"did not answer within 1 seconds" in endpoint.await_object(answer["FailureLocation"])
    assert [message["invocationStatus"] for message in endpoint.messages(1)] == ["Expired"]
    assert endpoint.object(answer["OutputLocation"]) is None


@documented(CONTAINER)
def test_a_container_must_accept_connections_within_250_ms(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A customer's model containers must accept socket connection requests within 250 ms."""
    from local_aws.sagemaker.requests import dispatcher

    timeouts: list[float] = []

    class Connection:
        def __init__(self, host: str, port: int, timeout: float) -> None:
            timeouts.append(timeout)

        def connect(self) -> None:
            raise TimeoutError

        def close(self) -> None:
            return

    monkeypatch.setattr("http.client.HTTPConnection", Connection)
    outcome = dispatcher.call_container("http://127.0.0.1:1", b"", {}, 60.0)
    assert (timeouts, outcome) == ([0.25], dispatcher.Busy(1.0))
