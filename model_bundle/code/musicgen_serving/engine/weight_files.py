"""Reading tensors by name from a checkpoint's safetensors files, by several threads, into what they are wanted in."""

import json
import os
import threading
import time
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

import torch

from musicgen_serving.engine.staging_buffers import CHUNK, StagingBuffers, Stored

READERS = 4  # what keeps an NVMe disk or a page cache busy; each has a buffer to read into and one being copied
_TYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "I64": torch.int64,
    "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8, "BOOL": torch.bool,
}  # fmt: skip


class WeightFiles:
    """The tensors of `model*.safetensors` in a folder; `bytes_read` counts what was read.

    No file is ever in memory as a whole: each part goes through a small buffer, pinned where the device is a GPU, to
    its place. May be used by several threads at once.
    """

    def __init__(self, folder: Path, device: torch.device | None = None) -> None:
        paths = sorted(folder.glob("model*.safetensors"))
        if not paths:
            raise ValueError(f"{folder} must hold model*.safetensors, got none")
        self._files = [os.open(path, os.O_RDONLY) for path in paths]
        self._tensors: dict[str, Stored] = {}
        for file, path in zip(self._files, paths, strict=True):
            self._tensors |= tensors_of(file, path)
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="weights")
        self._buffers = StagingBuffers(2 * READERS, device or torch.device("cpu"))
        self._counting, self._fillings, self._since = threading.Lock(), 0, 0.0
        self.bytes_read, self.seconds = 0, 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._readers.shutdown()
        for file in self._files:
            os.close(file)

    def names(self, prefix: str) -> list[str]:
        """The names that begin with a prefix."""
        return [name for name in self._tensors if name.startswith(prefix)]

    def read(self, name: str) -> torch.Tensor:
        """One tensor, as stored, on the host; ValueError where the checkpoint has none of that name."""
        stored = self._stored(name)
        whole = torch.empty(stored.shape, dtype=stored.dtype)
        self._fill([(whole, stored)])
        return whole

    def stacked(self, names: list[str], device: torch.device, dtype: torch.dtype) -> torch.Tensor:
        """Tensors one below the other, in one tensor on the device, whose later work finds it filled."""
        parts = [self._stored(name) for name in names]
        rows = [part.shape[0] for part in parts]
        whole = torch.empty((sum(rows), *parts[0].shape[1:]), device=device, dtype=dtype)
        self._fill(list(zip(torch.split(whole, rows), parts, strict=True)))
        return whole

    def speed(self) -> dict[str, float | int]:
        """What was read up to now, in bytes, seconds in which anything was, and gigabytes per second of them."""
        return {
            "bytes": self.bytes_read,
            "read_seconds": round(self.seconds, 3),
            "gigabytes_per_second": round(self.bytes_read / self.seconds / 1e9, 3) if self.seconds else 0,
        }

    @contextmanager
    def _counted(self, count: int) -> Generator[None]:
        """Count what is read here, and the time, of which a thread beside this one may spend the same."""
        with self._counting:
            self._since = time.monotonic() if self._fillings == 0 else self._since
            self._fillings += 1
        try:
            yield
        finally:
            with self._counting:
                self._fillings -= 1
                self.bytes_read += count
                self.seconds += time.monotonic() - self._since if self._fillings == 0 else 0

    def _stored(self, name: str) -> Stored:
        if name not in self._tensors:
            raise ValueError(f"the checkpoint must hold the tensor {name}, got none of that name")
        return self._tensors[name]

    def _fill(self, parts: list[tuple[torch.Tensor, Stored]]) -> None:
        """Read every part into its tensor; small ones here, large ones by several threads at once."""
        pieces = [(tensor, stored, start) for tensor, stored in parts for start in range(0, stored.nbytes, CHUNK)]
        size = sum(stored.nbytes for _, stored in parts)
        with self._counted(size), self._buffers.transfer(parts[0][0].device) as put:
            if len(pieces) == len(parts):
                for piece in pieces:
                    put(*piece)
            else:
                for done in [self._readers.submit(put, *piece) for piece in pieces]:
                    done.result()


def tensors_of(file: int, path: Path) -> dict[str, Stored]:
    """What a file holds (https://huggingface.co/docs/safetensors, "Format"); ValueError where it is not one, or cut."""
    size = os.fstat(file).st_size
    length = int.from_bytes(os.pread(file, 8, 0), "little")
    if size < 8 or length > size - 8:
        raise ValueError(f"{path} must be a whole safetensors file, got {size} bytes with a header of {length}")
    header = json.loads(os.pread(file, length, 8))
    header.pop("__metadata__", None)
    found: dict[str, Stored] = {}
    for name, entry in header.items():
        first, last = entry["data_offsets"]
        if entry["dtype"] not in _TYPES or not first <= last <= size - 8 - length:
            raise ValueError(f"{path} must hold {name} in a type of torch and in full, got {entry} of {size} bytes")
        found[name] = Stored(file, 8 + length + first, last - first, _TYPES[entry["dtype"]], tuple(entry["shape"]))
    return found


def require_all(prefix: str, missing: list[str]) -> None:
    """ValueError where a module found some of its tensors missing; what a checkpoint has beyond them does no harm."""
    if missing:
        names = ", ".join(prefix + name for name in missing[:3])
        raise ValueError(f"the checkpoint must hold every tensor of {prefix}*, got {len(missing)} missing: {names}")
