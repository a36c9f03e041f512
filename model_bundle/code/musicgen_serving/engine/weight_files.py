"""Reading tensors by name from a checkpoint's safetensors files, each mapped into memory and read when asked for."""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# safetensors' safe_open ships no types that strict mode can follow.

from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch
from safetensors import safe_open


class WeightFiles:
    """The tensors of `model*.safetensors` in a folder; `bytes_read` counts what was read."""

    def __init__(self, folder: Path) -> None:
        self._stack = ExitStack()
        self._files: dict[str, Any] = {}
        self.bytes_read = 0
        paths = sorted(folder.glob("model*.safetensors"))
        if not paths:
            raise ValueError(f"{folder} must hold model*.safetensors, got none")
        for path in paths:
            file = self._stack.enter_context(safe_open(path, framework="pt"))
            self._files |= dict.fromkeys(file.keys(), file)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def names(self, prefix: str) -> list[str]:
        """The names that begin with a prefix."""
        return [name for name in self._files if name.startswith(prefix)]

    def read(self, name: str) -> torch.Tensor:
        """One tensor, as stored; ValueError where the checkpoint has none of that name."""
        if name not in self._files:
            raise ValueError(f"the checkpoint must hold the tensor {name}, got none of that name")
        tensor: torch.Tensor = self._files[name].get_tensor(name)
        self.bytes_read += tensor.numel() * tensor.element_size()
        return tensor

    def stacked(self, names: list[str], device: torch.device, dtype: torch.dtype) -> torch.Tensor:
        """Tensors one below the other, in one tensor on the device that is filled part by part."""
        parts = iter(names)
        first = self.read(next(parts))
        whole = torch.empty((len(names) * first.shape[0], *first.shape[1:]), device=device, dtype=dtype)
        rows = whole.split(first.shape[0])
        rows[0].copy_(first)
        for row, name in zip(rows[1:], parts, strict=True):
            row.copy_(self.read(name))
        return whole


def require_all(prefix: str, missing: list[str]) -> None:
    """ValueError where a module found some of its tensors missing; what a checkpoint has beyond them does no harm."""
    if missing:
        names = ", ".join(prefix + name for name in missing[:3])
        raise ValueError(f"the checkpoint must hold every tensor of {prefix}*, got {len(missing)} missing: {names}")
