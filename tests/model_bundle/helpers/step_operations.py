"""What a stretch of work asks of a device, seen without one: on tensors that have a shape and no numbers."""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from collections.abc import Callable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

WAITING = ("_local_scalar_dense", "nonzero", "is_nonzero", "masked_select", "equal", "unique", "lift_fresh")


NOWHERE = torch.device("meta")
"""A device whose tensors have no numbers: they raise when asked for one, or when mixed with the CPU's."""


class Operations(TorchDispatchMode):
    """Notes every operation by its name, and the devices of what goes in and comes out."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []
        self.devices: set[torch.device] = set()

    @property
    def that_wait(self) -> list[str]:
        """Operations that read the device's numbers on the host, or take the host's to the device."""
        return [name for name in self.names if name.split(".")[1] in WAITING]

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        del types
        self.names.append(str(func))
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves((args, kwargs, result)):
            if isinstance(leaf, torch.Tensor):
                self.devices.add(leaf.device)
        return result


def on(device: torch.device, value: Any) -> Any:
    """A copy of nested data classes and tuples, its tensors on the device."""
    if isinstance(value, torch.Tensor):
        return value.to(device)
    if isinstance(value, tuple):
        return tuple(on(device, one) for one in value)
    if value is None:
        return None
    return type(value)(**{name: on(device, one) for name, one in vars(value).items()})
