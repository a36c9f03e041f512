"""What a server does while it reads the weights: every kernel once, over no clip."""

from typing import Any

import pytest
import torch
from kernel_cases import CPU
from random_decoder import random_decoder

from musicgen_serving.engine.acceleration import compile_kernels, kernel_step
from musicgen_serving.engine.decoder_config import DecoderConfig

SIZES = DecoderConfig(layers=2, hidden=64, heads=4, ffn=128, vocabulary=128, codebooks=4, channels=1, pad_token=128)


@pytest.mark.parametrize("eight_bit", [False, True])
def test_kernels_are_rehearsed_without_a_clip(eight_bit: bool, memory_log: Any) -> None:
    assert compile_kernels(SIZES, 2, 64, 8, CPU, torch.float16, eight_bit=eight_bit, log=memory_log.log)
    assert kernel_step(SIZES, random_decoder(SIZES, 64, torch.float16), 64, memory_log.log) is not None
    assert not memory_log.events("kernels_failed")
