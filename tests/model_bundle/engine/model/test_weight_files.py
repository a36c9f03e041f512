"""Test reading tensors of any size and dtype from safetensors files through small buffers."""

# pyright: reportUnknownVariableType=false
# safetensors' types leave parameters open.

import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from musicgen_serving.engine.model import weights
from musicgen_serving.engine.model.weights import WeightFiles

CPU = torch.device("cpu")


@pytest.fixture
def tensors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, torch.Tensor]:
    """Write tensors to two files; with chunks of 64 bytes, some have many and some a partial last one."""
    monkeypatch.setattr(weights, "CHUNK", 64)
    generator = torch.Generator().manual_seed(1)
    found = {
        "wide": torch.randn(40, 33, generator=generator),
        "half": torch.randn(7, 33, generator=generator).half(),
        "brain": torch.randn(3, 5, generator=generator).bfloat16(),
        "small": torch.randn(5, generator=generator),
        "whole": torch.arange(100).view(10, 10),
        "one": torch.tensor(3.5),
        "none": torch.empty((0, 4)),
    }
    save_file({name: found[name] for name in ("wide", "half", "one")}, tmp_path / "model-1.safetensors")
    rest = {name: tensor for name, tensor in found.items() if name not in ("wide", "half", "one")}
    save_file(rest, tmp_path / "model-2.safetensors", metadata={"format": "pt"})
    return found


def test_reads_every_tensor_as_it_was_saved(tmp_path: Path, tensors: dict[str, torch.Tensor]) -> None:
    with WeightFiles(tmp_path) as files:
        for name, tensor in tensors.items():
            assert torch.equal(files.read(name), tensor) and files.read(name).dtype == tensor.dtype
        assert sorted(files.names("")) == sorted(tensors)
        assert files.bytes_read == 2 * sum(tensor.nbytes for tensor in tensors.values())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_stacks_tensors_of_several_files_and_dtypes(
    tmp_path: Path, tensors: dict[str, torch.Tensor], dtype: torch.dtype
) -> None:
    with WeightFiles(tmp_path) as files:
        stacked = files.read_stacked(["half", "wide", "half"], CPU, dtype)
    parts = [tensors[name].to(dtype) for name in ("half", "wide", "half")]
    assert torch.equal(stacked, torch.cat(parts))


def test_refuses_a_truncated_file_by_name(tmp_path: Path, tensors: dict[str, torch.Tensor]) -> None:
    path = tmp_path / "model-1.safetensors"
    os.truncate(path, path.stat().st_size - 10)
    with pytest.raises(ValueError, match=r"model-1\.safetensors must hold .* in full"):
        WeightFiles(tmp_path)
    os.truncate(path, 20)
    with pytest.raises(ValueError, match=r"must be a whole safetensors file, got 20 bytes with a header of \d+"):
        WeightFiles(tmp_path)


def test_raises_if_a_file_shrinks_while_it_is_read(tmp_path: Path, tensors: dict[str, torch.Tensor]) -> None:
    with WeightFiles(tmp_path) as files:
        os.truncate(tmp_path / "model-1.safetensors", 300)
        with pytest.raises(OSError, match="a file of weights must have"):
            files.read("wide")


def test_reports_bytes_read_and_throughput(tmp_path: Path, tensors: dict[str, torch.Tensor]) -> None:
    with WeightFiles(tmp_path) as files:
        files.read("wide")
        assert files.throughput()["bytes"] == tensors["wide"].nbytes
        files.bytes_read, files.seconds = 3 * 10**9, 2.0
        assert files.throughput() == {"bytes": 3 * 10**9, "read_seconds": 2.0, "gigabytes_per_second": 1.5}
