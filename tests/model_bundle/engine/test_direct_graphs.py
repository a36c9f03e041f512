"""Graphs recorded and launched by the CUDA runtime itself: the calls that it gets, and what becomes of a failure."""

import ctypes
from contextlib import nullcontext
from typing import Any
from unittest.mock import Mock

import pytest
import torch

from musicgen_serving.engine import loading
from musicgen_serving.engine.loading import graph_recorder
from musicgen_serving.engine.step import graphs
from musicgen_serving.engine.step.graphs import CudaRecorder, CudaRuntime, DirectRecorder

STREAM, GRAPH, EXECUTABLE = 0x1234, 0x5678, 0x9ABC
WRITTEN = {"cudaStreamEndCapture": GRAPH, "cudaGraphInstantiateWithFlags": EXECUTABLE}


class FakeRuntime:
    """A CUDA runtime that notes its calls with the handles that they are given; `errors` has what some return."""

    def __init__(self, **errors: int) -> None:
        self.calls: list[tuple[str, list[int | None]]] = []
        self.last_error = 0
        self._errors = errors

    def cudaGetLastError(self) -> int:  # noqa: N802  (CUDA's name)
        """The last error, which is so forgotten."""
        error, self.last_error = self.last_error, 0
        return error

    def __getattr__(self, name: str) -> Any:
        def call(*arguments: Any) -> int:
            given = [one.value for one in arguments if isinstance(one, ctypes.c_void_p)]
            self.calls.append((name, given))
            for one in arguments:
                if type(one).__name__ == "CArgObject":  # what byref makes
                    one._obj.value = WRITTEN[name]
            error = self._errors.get(name, 0)
            self.last_error = error or self.last_error
            return error

        return call


def test_a_capture_ends_in_a_graph_that_is_launched_as_often_as_wanted() -> None:
    library = FakeRuntime()
    runtime = CudaRuntime(library)
    executable = runtime.capture(STREAM, lambda: library.calls.append(("work", [])))
    assert library.calls == [
        ("cudaStreamBeginCapture", [STREAM]), ("work", []), ("cudaStreamEndCapture", [STREAM]),
        ("cudaGraphInstantiateWithFlags", [GRAPH]), ("cudaGraphDestroy", [GRAPH]),
    ]  # fmt: skip
    library.calls.clear()
    for _ in range(2):
        runtime.launch(executable, STREAM)
    assert library.calls == [("cudaGraphLaunch", [EXECUTABLE, STREAM])] * 2


def test_work_that_raises_leaves_no_stream_capturing() -> None:
    library = FakeRuntime()

    def work() -> None:
        raise ValueError("poison")

    with pytest.raises(ValueError, match="poison"):
        CudaRuntime(library).capture(STREAM, work)
    assert library.calls == [("cudaStreamBeginCapture", [STREAM]), ("cudaStreamEndCapture", [STREAM])]


@pytest.mark.parametrize("name", ["cudaStreamBeginCapture", "cudaStreamEndCapture", "cudaGraphInstantiateWithFlags"])
def test_a_call_that_fails_is_named_with_cudas_number(name: str) -> None:
    library = FakeRuntime(**{name: 900})
    with pytest.raises(RuntimeError, match=f"{name} must succeed, got CUDA error 900"):
        CudaRuntime(library).capture(STREAM, lambda: None)
    assert library.last_error == 0, "torch checks it after each of its kernels, and would raise it as theirs"


class FakeStream:
    """A stream that waits for nothing."""

    cuda_stream = STREAM

    def __init__(self, device: torch.device | None = None, priority: int = 0) -> None:
        """Take what torch's takes."""

    def wait_stream(self, other: object) -> None:
        """Return at once."""


@pytest.fixture
def streams(monkeypatch: pytest.MonkeyPatch) -> None:
    """Streams of torch, without a device."""
    monkeypatch.setattr(torch.cuda, "Stream", FakeStream)
    monkeypatch.setattr(torch.cuda, "current_stream", FakeStream)
    monkeypatch.setattr(torch.cuda, "stream", nullcontext)
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", lambda: (0, 1))


class FailingGraph:
    """A graph of torch that cannot be captured."""

    begun = 0

    def capture_begin(self, **_: object) -> None:
        FailingGraph.begun += 1

    def capture_end(self) -> None:
        raise RuntimeError("capture failed")


@pytest.mark.usefixtures("streams")
def test_after_a_capture_of_torchs_that_failed_nothing_is_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "CUDAGraph", FailingGraph)
    recorder = CudaRecorder(torch.device("cuda", 0))
    with pytest.raises(RuntimeError, match="capture failed"):
        recorder.record(lambda: None)
    with pytest.raises(RuntimeError, match="nothing is recorded after a capture that failed"):
        recorder.record(lambda: None)
    assert FailingGraph.begun == 1


@pytest.mark.usefixtures("streams")
@pytest.mark.parametrize(("counts", "captures"), [([5, 5], 1), ([5, 6, 6, 6], 2), ([5, 6, 6, 7, 8, 8], 3)])
def test_a_step_that_another_thread_allocated_beside_is_captured_again(
    counts: list[int], captures: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    library, left = FakeRuntime(), iter(counts)
    monkeypatch.setattr(DirectRecorder, "_self_test", Mock())
    monkeypatch.setattr(CudaRuntime, "load", lambda: CudaRuntime(library))
    monkeypatch.setattr(graphs, "count_allocations", lambda: next(left))
    DirectRecorder(torch.device("cuda", 0)).record(lambda: None)()
    made = [name for name, _ in library.calls]
    assert made.count("cudaGraphInstantiateWithFlags") == captures
    assert made.count("cudaGraphExecDestroy") == captures - 1
    assert library.calls[-1] == ("cudaGraphLaunch", [EXECUTABLE, STREAM])


@pytest.mark.parametrize("error", [RuntimeError("CUDA error 900"), OSError("libcudart.so.12: no such file")])
def test_where_it_does_not_work_torch_records_and_the_log_says_so(
    error: Exception, memory_log: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(device: torch.device) -> None:
        raise error

    monkeypatch.setattr(loading, "DirectRecorder", broken)
    monkeypatch.setattr(loading, "CudaRecorder", "torch's on {}".format)
    assert graph_recorder(torch.device("cuda", 0), memory_log.log) == "torch's on cuda:0"
    (line,) = memory_log.events("direct_graphs_failed")
    assert line["error"] == repr(error) and line["instead"] == "torch's own graphs"
