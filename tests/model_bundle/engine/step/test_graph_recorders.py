"""Test that the graph recorder records nothing after a failed capture."""

from contextlib import nullcontext

import pytest
import torch

from musicgen_serving.engine.step.graphs import CudaRecorder


class FakeStream:
    """A stream that accepts torch's arguments and never waits."""

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
