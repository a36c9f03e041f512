"""Recording steps that allocate nothing as CUDA graphs, by the CUDA runtime itself.

torch 2.6's CUDAGraph.replay launches two kernels of its own before every graph, for a generator that no step uses
(CUDAGeneratorState::replay_prologue); launched directly, a step is one launch. What torch's graphs are for, memory of
their own, such steps have no need of.
"""

import ctypes
from collections.abc import Callable
from typing import Any

import torch

from musicgen_serving.engine.cuda_graphs import CudaRecorder

_ATTEMPTS = 3  # captures of one step, each about a millisecond, before torch takes over
_THREAD_LOCAL = 1  # cudaStreamCaptureModeThreadLocal: other threads may go on using the device


class Runtime:
    """The calls of the CUDA runtime that graphs need; RuntimeError with CUDA's number where one fails."""

    def __init__(self, library: Any) -> None:
        self._library = library

    @classmethod
    def loaded(cls) -> "Runtime":
        """The runtime that torch has loaded; OSError where there is none."""
        major = str(torch.version.cuda).split(".")[0]
        return cls(ctypes.CDLL(f"libcudart.so.{major}"))

    def capture(self, stream: int, work: Callable[[], None]) -> ctypes.c_void_p:
        """What the work gives a stream, as a graph that can be launched."""
        graph, executable = ctypes.c_void_p(), ctypes.c_void_p()
        self._call("cudaStreamBeginCapture", ctypes.c_void_p(stream), _THREAD_LOCAL)
        try:
            work()
        finally:
            self._call("cudaStreamEndCapture", ctypes.c_void_p(stream), ctypes.byref(graph))
        self._call("cudaGraphInstantiateWithFlags", ctypes.byref(executable), graph, ctypes.c_ulonglong(0))
        self._call("cudaGraphDestroy", graph)
        return executable

    def launch(self, executable: ctypes.c_void_p, stream: int) -> None:
        """Launch a graph into a stream, whose priority its kernels take."""
        self._call("cudaGraphLaunch", executable, ctypes.c_void_p(stream))

    def discard(self, executable: ctypes.c_void_p) -> None:
        """Free a graph that was never launched."""
        self._call("cudaGraphExecDestroy", executable)

    def _call(self, name: str, *arguments: Any) -> None:
        if error := getattr(self._library, name)(*arguments):
            self._library.cudaGetLastError()  # forgets it: torch would take it for an error of its next kernel
            raise RuntimeError(f"{name} must succeed, got CUDA error {error}")


class DirectRecorder(CudaRecorder):
    """Records on a stream of its own, as CudaRecorder does, and launches without torch. What it returns is never freed.

    RuntimeError or OSError where that does not work here.
    """

    def __init__(self, device: torch.device) -> None:
        super().__init__(device)
        self._runtime = Runtime.loaded()
        self._prove(device)

    def record(self, work: Callable[[], None]) -> Callable[[], None]:
        """Capture the work; as torch does it where it allocates memory, which others might then get.

        Another thread may have allocated meanwhile, which is not the work's: so it is tried again.
        """
        for _ in range(_ATTEMPTS):
            before = allocations()
            executable = self._captured(work)
            if allocations() == before:
                return lambda: self._runtime.launch(executable, torch.cuda.current_stream().cuda_stream)
            self._runtime.discard(executable)
        return super().record(work)

    def _captured(self, work: Callable[[], None]) -> ctypes.c_void_p:
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            executable = self._runtime.capture(self._stream.cuda_stream, work)
        torch.cuda.current_stream().wait_stream(self._stream)
        return executable

    def _prove(self, device: torch.device) -> None:
        """RuntimeError unless a graph of one addition adds as often as it is launched."""
        number = torch.zeros(1, device=device)

        def add() -> None:
            number.add_(1)

        self.rehearse(add)
        again = self.record(add)
        again()
        again()
        if (got := float(number)) != 3:
            raise RuntimeError(f"a graph launched twice after a rehearsal must have added 3, got {got}")


def allocations() -> int:
    """How often torch has given out memory of the device, in any thread."""
    return torch.cuda.memory_stats().get("allocation.all.allocated", 0)
