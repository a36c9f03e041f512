"""The peak memory of a block of work, above what was in use before it."""

from pathlib import Path
from typing import Self

import torch


class PeakMemory:
    """A context manager that sets `taken` to bytes of GPU memory, or of the process's resident set."""

    def __init__(self, device: torch.device) -> None:
        self._cuda = device.type == "cuda"
        self._before = 0
        self.taken = 0

    def __enter__(self) -> Self:
        if self._cuda:
            torch.cuda.reset_peak_memory_stats()
            self._before = torch.cuda.memory_allocated()
        else:
            Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # resets VmHWM (proc(5))
            self._before = _status("VmRSS")
        return self

    def __exit__(self, *exc_info: object) -> None:
        peak = torch.cuda.max_memory_allocated() if self._cuda else _status("VmHWM")
        self.taken = max(0, peak - self._before)


def _status(name: str) -> int:
    """Return a value of /proc/self/status in bytes."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))
