"""Record the operations of a block of code on the meta device, to prove that none of them waits for a device."""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from collections.abc import Callable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

META = torch.device("meta")
"""A device whose tensors have no values: they raise if a value is read, or if mixed with a CPU's tensors."""
SYNCHRONIZING = ("_local_scalar_dense", "nonzero", "is_nonzero", "masked_select", "equal", "unique", "lift_fresh")


class RecordOperations(TorchDispatchMode):
    """Record the name of every operation, and the devices of its arguments and results."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []
        self.devices: set[torch.device] = set()

    @property
    def synchronizing(self) -> list[str]:
        """RecordOperations that read values of the device on the host, or copy values of the host to the device."""
        return [name for name in self.names if name.split(".")[1] in SYNCHRONIZING]

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        del types
        self.names.append(str(func))
        result = func(*args, **(kwargs or {}))
        leaves = tree_leaves((args, kwargs, result))
        self.devices |= {leaf.device for leaf in leaves if isinstance(leaf, torch.Tensor)}
        return result


def to_device(device: torch.device, value: Any) -> Any:
    """Return a copy of nested data classes and tuples with their tensors on the device."""
    if isinstance(value, torch.Tensor):
        return value.to(device)
    if isinstance(value, tuple):
        return tuple(to_device(device, one) for one in value)
    if value is None:
        return None
    return type(value)(**{name: to_device(device, one) for name, one in vars(value).items()})
