"""How a function becomes a kernel."""
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false

from collections.abc import Callable
from typing import Any

import triton


def kernel(function: Callable[..., object]) -> Any:
    """A function in Triton's language, as a kernel or for kernels; Triton's own type for it knows no launch options.

    A step of one row is compiled no other way than one of many.
    """
    return triton.jit(do_not_specialize=["rows"])(function)  # pyright: ignore[reportArgumentType]
