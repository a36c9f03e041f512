"""What the other tests of this folder stand on."""

import pytest


def test_kernels_are_interpreted_by_the_triton_beside_the_containers_torch() -> None:
    triton = pytest.importorskip("triton", reason="Triton is built for Linux on x86-64 only: no test of kernels here")
    from triton.runtime.interpreter import InterpretedFunction

    from musicgen_serving.engine.kernels.linear import linear_kernel

    assert triton.__version__ == "3.2.0"
    assert isinstance(linear_kernel, InterpretedFunction)
