"""Test the graph recorders with a fake CUDA runtime: its calls, failed captures, and the fallback to torch's graphs."""

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
    """A CUDA runtime that records its calls and their handles; calls in `errors` return that error."""

    def __init__(self, **errors: int) -> None:
        self.calls: list[tuple[str, list[int | None]]] = []
        self.last_error = 0
        self._errors = errors

    def cudaGetLastError(self) -> int:  # noqa: N802  (CUDA's name)
        error, self.last_error = self.last_error, 0
        return error

    def __getattr__(self, name: str) -> Any:
        def call(*arguments: Any) -> int:
            handles = [one.value for one in arguments if isinstance(one, ctypes.c_void_p)]
            self.calls.append((name, handles))
            for one in arguments:
                if type(one).__name__ == "CArgObject":  # made by byref
                    one._obj.value = WRITTEN[name]
            error = self._errors.get(name, 0)
            self.last_error = error or self.last_error
            return error

        return call


def test_a_captured_graph_can_be_launched_repeatedly() -> None:
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


def test_a_capture_ends_if_its_work_raises() -> None:
    library = FakeRuntime()

    def work() -> None:
        raise ValueError("poison")

    with pytest.raises(ValueError, match="poison"):
        CudaRuntime(library).capture(STREAM, work)
    assert library.calls == [("cudaStreamBeginCapture", [STREAM]), ("cudaStreamEndCapture", [STREAM])]


@pytest.mark.parametrize("name", ["cudaStreamBeginCapture", "cudaStreamEndCapture", "cudaGraphInstantiateWithFlags"])
def test_a_failed_call_is_reported_by_name_and_error_number(name: str) -> None:
    library = FakeRuntime(**{name: 900})
    with pytest.raises(RuntimeError, match=f"{name} must succeed, got CUDA error 900"):
        CudaRuntime(library).capture(STREAM, lambda: None)
    assert library.last_error == 0, "torch would report an uncleared error for its own next kernel"


class FakeStream:
    """A stream that accepts torch's arguments and never waits."""

    cuda_stream = STREAM

    def __init__(self, device: torch.device | None = None, priority: int = 0) -> None:
        pass

    def wait_stream(self, other: object) -> None:
        pass


@pytest.fixture
def streams(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace torch's streams, which need a device."""
    monkeypatch.setattr(torch.cuda, "Stream", FakeStream)
    monkeypatch.setattr(torch.cuda, "current_stream", FakeStream)
    monkeypatch.setattr(torch.cuda, "stream", nullcontext)
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", lambda: (0, 1))


class FailingGraph:
    """A torch graph whose capture fails."""

    begun = 0

    def capture_begin(self, **_: object) -> None:
        FailingGraph.begun += 1

    def capture_end(self) -> None:
        raise RuntimeError("capture failed")


@pytest.mark.usefixtures("streams")
def test_nothing_is_recorded_after_a_failed_torch_capture(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "CUDAGraph", FailingGraph)
    recorder = CudaRecorder(torch.device("cuda", 0))
    with pytest.raises(RuntimeError, match="capture failed"):
        recorder.record(lambda: None)
    with pytest.raises(RuntimeError, match="nothing is recorded after a capture that failed"):
        recorder.record(lambda: None)
    assert FailingGraph.begun == 1


@pytest.mark.usefixtures("streams")
@pytest.mark.parametrize(("counts", "captures"), [([5, 5], 1), ([5, 6, 6, 6], 2), ([5, 6, 6, 7, 8, 8], 3)])
def test_captures_again_if_another_thread_allocated_meanwhile(
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
def test_falls_back_to_torchs_graphs_with_a_log_line(
    error: Exception, memory_log: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(device: torch.device) -> None:
        raise error

    monkeypatch.setattr(loading, "DirectRecorder", broken)
    monkeypatch.setattr(loading, "CudaRecorder", "torch's on {}".format)
    assert graph_recorder(torch.device("cuda", 0), memory_log.log) == "torch's on cuda:0"
    (line,) = memory_log.events("direct_graphs_failed")
    assert line["error"] == repr(error) and line["instead"] == "torch's own graphs"
