"""Test the fallback to torch steps without Triton, a compiler or a GPU."""

import sys
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from musicgen_serving.engine.loading import (
    compile_kernels,
    kernel_step,
    record_graphs,
    require_eight_bit_kernels,
)
from musicgen_serving.engine.model.config import DecoderConfig
from tests.model_bundle.helpers.random_weights import random_weights
from tests.model_bundle.helpers.reference_musicgen import CPU, Reference

SIZES = DecoderConfig(layers=2, hidden=64, heads=4, ffn=128, vocabulary=128, codebooks=4, channels=1, pad_token=128)


def test_steps_with_torch_if_triton_is_missing_and_logs_it(monkeypatch: pytest.MonkeyPatch, memory_log: Any) -> None:
    monkeypatch.setitem(sys.modules, "musicgen_serving.engine.kernels.kernel_step", None)
    weights = random_weights(SIZES, 64, torch.float16)
    assert kernel_step(SIZES, weights, 64, memory_log.log) is None
    (line,) = memory_log.events("kernels_missing")
    assert "kernels.kernel_step" in line["error"] and line["instead"] == "torch's own operations"


def test_steps_with_torch_in_float32(memory_log: Any) -> None:
    with torch.device("meta"):
        weights = random_weights(SIZES, 64, torch.float32)
    assert kernel_step(SIZES, weights, 64, memory_log.log) is None
    assert not memory_log.events("kernels_missing")


def test_kernels_that_fail_to_compile_are_logged_and_not_used(monkeypatch: pytest.MonkeyPatch, memory_log: Any) -> None:
    def no_compiler(*_: Any) -> None:
        raise RuntimeError("Failed to find C compiler")

    module = SimpleNamespace(KernelStep=no_compiler)
    monkeypatch.setitem(sys.modules, "musicgen_serving.engine.kernels.kernel_step", module)
    assert not compile_kernels(SIZES, 2, 64, 8, CPU, torch.float16, eight_bit=False, log=memory_log.log)
    (line,) = memory_log.events("kernels_failed")
    assert "C compiler" in line["error"] and line["instead"] == "torch's own operations"


def test_compiles_nothing_if_triton_is_missing(monkeypatch: pytest.MonkeyPatch, memory_log: Any) -> None:
    monkeypatch.setitem(sys.modules, "musicgen_serving.engine.kernels.kernel_step", None)
    assert not compile_kernels(SIZES, 2, 64, 8, CPU, torch.float16, eight_bit=False, log=memory_log.log)


def test_refuses_8_bit_weights_on_a_gpu_only_without_kernels() -> None:
    require_eight_bit_kernels(True, has_kernels=True)
    require_eight_bit_kernels(False, has_kernels=False)
    with pytest.raises(ValueError, match=r"a working Triton .* set MUSICGEN_WEIGHT_QUANTISATION=none"):
        require_eight_bit_kernels(True, has_kernels=False)


def test_records_no_graphs_on_a_cpu(mono: Reference, memory_log: Any) -> None:
    runner = mono.runner()
    assert record_graphs(runner, memory_log.log) is None and runner.graphs is None
