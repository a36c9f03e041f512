"""Test that the CPU benchmark reports a number of clips in flight only if they were."""

from pathlib import Path

import pytest
import torch

from benchmarks.checkpoints import write_checkpoint
from benchmarks.engine_vs_stock import generate_codes
from musicgen_serving.engine.generator import Capacity, Generator
from musicgen_serving.engine.loading import WeightFormat
from tests.model_bundle.helpers.memory_log import MemoryLog


def test_fails_if_fewer_clips_were_in_flight_than_it_would_report(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "tiny", "tiny", torch.device("cpu"))
    log, capacity = MemoryLog().log, Capacity(slots=3)
    generator = Generator(tmp_path / "tiny", weight_format=WeightFormat(), capacity=capacity, log=log)
    generate_codes(generator, 3, 60)
    with pytest.raises(RuntimeError, match="8 clips must be in flight at once, got 3"):
        generate_codes(generator, 8, 60)
    generator.close()
