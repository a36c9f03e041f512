"""Recording a step as a CUDA graph. Only what torch 2.6 has; torch.cuda.graph would collect garbage for every graph."""

from collections.abc import Callable

import torch


class CudaRecorder:
    """Records on a stream of its own; all graphs take their memory from one pool, as no two of them run at once."""

    def __init__(self, device: torch.device) -> None:
        self._stream = torch.cuda.Stream(device, priority=-1)  # which a graph's kernels keep
        self._pool = torch.cuda.graph_pool_handle()
        self._failure: Exception | None = None

    def rehearse(self, work: Callable[[], None]) -> None:
        """Do the work on the recorder's stream, so that what libraries keep for a stream is there too."""
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            work()
        self._stream.synchronize()

    def record(self, work: Callable[[], None]) -> Callable[[], None]:
        """Capture the work; other threads may go on using the device meanwhile, if they never wait for this one.

        After a capture that failed, RuntimeError: torch leaves its allocator as if that capture still went on.
        """
        if self._failure is not None:
            raise RuntimeError("nothing is recorded after a capture that failed") from self._failure
        try:
            return self._captured_by_torch(work)
        except Exception as error:
            self._failure = error
            raise

    def _captured_by_torch(self, work: Callable[[], None]) -> Callable[[], None]:
        graph = torch.cuda.CUDAGraph()
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            graph.capture_begin(pool=self._pool, capture_error_mode="thread_local")
            try:
                work()
            finally:
                graph.capture_end()
        torch.cuda.current_stream().wait_stream(self._stream)
        return graph.replay
