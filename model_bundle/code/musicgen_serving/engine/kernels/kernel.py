"""How a function becomes a kernel."""
# pyright: reportUnknownMemberType=false

from collections.abc import Callable
from typing import Any

import triton

PLAIN = (
    "rows", "step", "heads", "span", "ahead_size", "tokens", "position", "active", "broken", "guidance", "temperature",
    "top_k", "top_p", "greedy", "seed", "arrived",
)  # fmt: skip
"""Arguments whose value, or address, makes no difference to how a kernel is compiled: a window may begin anywhere."""


def kernel(function: Callable[..., object]) -> Any:
    """A function in Triton's language, as a kernel or for kernels; Triton's own type for it knows no launch options."""
    return triton.jit(do_not_specialize=PLAIN)(function)  # pyright: ignore[reportArgumentType]
