"""Patch the interpreter of Triton 3.2.0, the container's version, for newer NumPy versions, and speed it up.

Unpatched, it redefines Triton's language with every call of every function, which takes three times as long.
"""
# pyright: reportUnknownMemberType=false, reportPrivateUsage=false
# pyright: reportUnknownParameterType=false, reportMissingParameterType=false, reportUnknownArgumentType=false
# pyright: reportUnknownVariableType=false, reportUnknownLambdaType=false

from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec

import pytest

collect_ignore_glob = ["test_[!i]*.py"] if find_spec("triton") is None else []  # test_interpreter.py gives the reason


@pytest.fixture(scope="session", autouse=True)
def patched_interpreter() -> Iterator[None]:
    """Let one-element arrays, the interpreter's scalars, be indices, which NumPy rejects from 2.4 on."""
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
