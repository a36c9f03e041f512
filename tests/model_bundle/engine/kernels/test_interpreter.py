"""Test the premise of the other tests in this folder: kernels run in the interpreter of the container's Triton."""

import pytest


def test_kernels_are_interpreted_by_the_triton_version_of_the_container() -> None:
    triton = pytest.importorskip("triton", reason="Triton is built for Linux on x86-64 only; kernel tests are skipped")
    from triton.runtime.interpreter import InterpretedFunction

    from musicgen_serving.engine.kernels.linear import linear_kernel

    assert triton.__version__ == "3.2.0"
    assert isinstance(linear_kernel, InterpretedFunction)
