"""The decorator that compiles a kernel."""
# pyright: reportUnknownMemberType=false

from collections.abc import Callable
from typing import Any

import triton

PLAIN = (
    "rows", "stride", "heads", "span", "prefetch_size", "tokens", "position", "active", "nonfinite", "guidance",
    "temperature", "top_k", "top_p", "greedy", "seed", "arrived", "table", "table_stride",
)  # fmt: skip
"""Arguments whose value or alignment must not trigger another compilation: a run of slots may start anywhere."""


def kernel(function: Callable[..., object]) -> Any:
    """Compile a function in Triton's language; `Any` because Triton's own type lacks launch options."""
    return triton.jit(do_not_specialize=PLAIN)(function)  # pyright: ignore[reportArgumentType]
