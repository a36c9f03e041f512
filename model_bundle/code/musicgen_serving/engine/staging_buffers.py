"""From a file to a device through small buffers: read into one while another is being copied.

Where the device is a GPU the buffers are pinned, so that the copy engine reads them by itself, on a stream of its own.
"""

import os
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from queue import SimpleQueue

import torch

from musicgen_serving.engine.pace import Event, marker

CHUNK = 4 * 2**20  # bytes: large enough for a disk and for PCIe to be at their speed


@dataclass(frozen=True)
class Stored:
    """A tensor in a file."""

    file: int
    offset: int
    nbytes: int
    dtype: torch.dtype
    shape: tuple[int, ...]


@dataclass
class Buffer:
    """Memory of one chunk; it may be written to again after `copied`."""

    memory: torch.Tensor  # [CHUNK], uint8
    copied: Event | None = None


Put = Callable[[torch.Tensor, Stored, int], None]
"""Brings the chunk that begins at a byte of a stored tensor to its place in a contiguous tensor, of any type."""


class StagingBuffers:
    """A few buffers that threads take in turn, made when they are first needed."""

    def __init__(self, count: int, device: torch.device) -> None:
        self._pinned = device.type == "cuda"
        self._stream = torch.cuda.Stream(device) if self._pinned else None
        self._mark = marker(device)
        self._free: SimpleQueue[Buffer | None] = SimpleQueue()
        for _ in range(count):
            self._free.put(None)

    @contextmanager
    def transfer(self, device: torch.device) -> Generator[Put]:
        """What puts chunks on a device; the caller's later work there comes after all that was put in between."""
        stream = self._stream if device.type == "cuda" else None
        if stream is not None:
            stream.wait_stream(torch.cuda.current_stream(device))  # whoever had this memory before may not be done

        def put(target: torch.Tensor, stored: Stored, start: int) -> None:
            with torch.cuda.stream(stream):  # None changes nothing
                self._put(target, stored, start)

        yield put
        if stream is not None:
            torch.cuda.current_stream(device).wait_stream(stream)

    def _put(self, target: torch.Tensor, stored: Stored, start: int) -> None:
        buffer = self._free.get() or Buffer(torch.empty(CHUNK, dtype=torch.uint8, pin_memory=self._pinned))
        try:
            if buffer.copied is not None:
                buffer.copied.synchronize()
            count = min(CHUNK, stored.nbytes - start)
            read_exactly(stored.file, buffer.memory[:count], stored.offset + start)
            self._copy(target, buffer.memory[:count].view(stored.dtype), start // stored.dtype.itemsize)
            buffer.copied = self._mark()
        finally:
            self._free.put(buffer)

    def _copy(self, target: torch.Tensor, numbers: torch.Tensor, first: int) -> None:
        place = target.view(-1)[first : first + numbers.numel()]
        if place.device.type == "cuda" and place.dtype != numbers.dtype:
            numbers = numbers.to(place.device, non_blocking=True)  # to be converted there
        place.copy_(numbers, non_blocking=True)


def read_exactly(file: int, memory: torch.Tensor, offset: int) -> None:
    """Fill memory [bytes] from a file's offset on; OSError where the file ends before."""
    view, done = memoryview(memory.numpy()), 0  # pyright: ignore[reportArgumentType]
    while done < len(view):
        count = os.preadv(file, [view[done:]], offset + done)
        if count == 0:
            raise OSError(f"a file of weights must have {offset + len(view)} bytes, got {offset + done}")
        done += count
