"""Test that the CPU benchmark prints a line for each format, and reports clips in flight only if they were."""

import re
import sys
from pathlib import Path

import pytest
import torch

from benchmarks.checkpoints import write_checkpoint
from benchmarks.engine_vs_stock import generate_codes, main
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


def test_the_last_lines_compare_each_format_with_stock(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    threads = torch.get_num_threads()
    monkeypatch.setattr(
        sys, "argv", ["engine_vs_stock", "--size", "tiny", "--steps", "8", "--rounds", "1", "--threads", "1"]
    )
    monkeypatch.setattr("benchmarks.engine_vs_stock.ReadMemory.nbytes", 2**22)
    try:
        main()
    finally:
        torch.set_num_threads(threads)
    lines = capsys.readouterr().out.splitlines()
    for line, weights in zip(lines[-3:], ("float32", "float16", "int8"), strict=True):
        figures = (
            rf"engine: device=cpu model=tiny weights={weights} x_single=\d+\.\d\d x_throughput=\d+\.\d\d threads=1"
        )
        assert re.fullmatch(figures, line)
    errors = {line.split(":")[0]: float(line.rsplit(" ", 1)[1]) for line in lines if "relative error of logits" in line}
    assert errors["float32"] < 1e-6 and errors["float16"] < 1e-3 and 1e-3 < errors["int8"] < 0.02
