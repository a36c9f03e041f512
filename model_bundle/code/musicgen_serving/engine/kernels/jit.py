"""The decorator that compiles a kernel."""
# pyright: reportUnknownMemberType=false

import os
from collections.abc import Callable
from typing import Any

import triton

os.environ["DISABLE_MMA_V3"] = "1"
"""Use mma.sync for any number of rows on an H100 too, so that they are summed in the same way (see `tiles`). Its rate
suffices: 64 rows need 64 FLOP for each byte of the weight, 214 TFLOPS at 3.35 TB/s."""

PLAIN = (
    "rows", "stride", "heads", "span", "prefetch_size", "tokens", "position", "active", "nonfinite", "guidance",
    "temperature", "top_k", "top_p", "greedy", "seed", "arrived", "table", "table_stride",
)  # fmt: skip
"""Arguments whose value or alignment must not trigger another compilation: a run of slots may start anywhere."""


def kernel(function: Callable[..., object]) -> Any:
    """Compile a function in Triton's language; `Any` because Triton's own type lacks launch options."""
    return triton.jit(do_not_specialize=PLAIN)(function)  # pyright: ignore[reportArgumentType]
