"""Triton's interpreter, patched where Triton 3.2.0, the version beside the container's torch, meets a newer NumPy.

And three times as fast: it would redefine Triton's language with every call of every function.
"""
# pyright: reportUnknownMemberType=false, reportPrivateUsage=false
# pyright: reportUnknownParameterType=false, reportMissingParameterType=false, reportUnknownArgumentType=false
# pyright: reportUnknownVariableType=false, reportUnknownLambdaType=false

from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec

import pytest

collect_ignore_glob = ["test_[!i]*.py"] if find_spec("triton") is None else []  # test_interpreter.py says so


@pytest.fixture(scope="session", autouse=True)
def indices_from_arrays_of_one() -> Iterator[None]:
    """A kernel's numbers are arrays of one element there, which NumPy no longer takes for an index (from 2.4 on)."""
    if collect_ignore_glob:
        yield
        return
    from triton.runtime import interpreter

    with pytest.MonkeyPatch.context() as patch:
        original = interpreter._patch_lang_tensor

        def patched(tensor) -> None:
            original(tensor)
            tensor.__index__ = lambda self: self.handle.data.item()

        patch.setattr(interpreter, "_patch_lang_tensor", patched)
        patch.setattr(interpreter, "_patch_lang", cache(interpreter._patch_lang))
        yield
