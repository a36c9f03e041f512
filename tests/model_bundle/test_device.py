"""Choosing the device: no silent fallback to the CPU on a GPU instance."""

import ctypes
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from musicgen_serving import device
from musicgen_serving.device import CudaUnavailableError, choose_device, compute_on, driver_version
from musicgen_serving.engine.generator import MAX_SLOTS, Capacity
from musicgen_serving.settings import Settings
from soak.mms_instance import free_port

CODE = Path(__file__).parents[2] / "model_bundle/code"
IMAGE = "763104351884.dkr.ecr.us-east-1.amazonaws.com/huggingface-pytorch-inference:gpu"
TOO_OLD = "The NVIDIA driver on your system is too old (found version 11040). Please update your GPU driver"
PROPRIETARY = (
    "NVRM version: NVIDIA UNIX x86_64 Kernel Module  470.256.02  Thu May  2 14:37:44 UTC 2024\nGCC version: 7\n"
)
OPEN = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  550.163.01  Release Build\nGCC version: 11\n"
START = """
import sys
from types import SimpleNamespace
sys.path.insert(0, sys.argv[1])
from musicgen_serving.service import MusicgenService
MusicgenService().initialize(SimpleNamespace(system_properties={"model_dir": sys.argv[2]}))
"""


def settings(requested: str | None) -> Settings:
    return Settings(output_bucket="out", device=requested, image=IMAGE)


@pytest.fixture
def gpu_host(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A host that has a driver and CUDA; returns the kernel module's version file."""
    path = tmp_path / "version"
    path.write_text(PROPRIETARY, encoding="utf-8")
    monkeypatch.setattr(device, "DRIVER_FILE", path)
    monkeypatch.setattr(torch.version, "cuda", "12.4")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(device, "compute_on", id)
    return path


@pytest.mark.parametrize("requested", [None, "cuda"])
def test_uses_cuda_and_logs_driver_and_image(gpu_host: Path, memory_log: Any, requested: str | None) -> None:
    assert choose_device(settings(requested), memory_log.log) == torch.device("cuda", 0)
    (line,) = memory_log.events("device")
    assert (line["device"], line["nvidia_driver"], line["torch_cuda"]) == ("cuda:0", "470.256.02", "12.4")
    assert line["image"] == IMAGE


def test_uses_the_cpu_of_a_gpu_host_when_asked_to(gpu_host: Path, memory_log: Any) -> None:
    assert choose_device(settings("cpu"), memory_log.log) == torch.device("cpu")
    assert memory_log.events("device")[0]["chosen_by"] == "MUSICGEN_DEVICE=cpu"


def test_says_that_it_uses_the_cpu_for_want_of_cuda_when_nothing_was_asked_for(
    monkeypatch: pytest.MonkeyPatch, memory_log: Any
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device(settings(None), memory_log.log) == torch.device("cpu")
    (line,) = memory_log.events("device")
    assert (line["device"], line["chosen_by"]) == ("cpu", "MUSICGEN_DEVICE is unset: CUDA if available")


def test_refuses_a_driver_that_is_too_old_and_names_driver_cuda_image_and_remedy(
    gpu_host: Path, monkeypatch: pytest.MonkeyPatch, memory_log: Any
) -> None:
    def fail(_: torch.device) -> None:
        raise RuntimeError(f"{TOO_OLD}\nsecond line")

    monkeypatch.setattr(device, "compute_on", fail)
    with pytest.raises(CudaUnavailableError) as caught:
        choose_device(settings("cuda"), memory_log.log)
    message = str(caught.value)
    assert f"got RuntimeError: {TOO_OLD} (nvidia_driver 470.256.02, torch {torch.__version__}" in message
    assert f"torch_cuda 12.4, image {IMAGE})" in message
    assert "in infra/config/instances.json set this instance type's InferenceAmiVersion to" in message
    assert "supports CUDA 12.4" in message
    assert message.endswith("see docs/first-deployment.md")
    assert memory_log.lines() == []


def test_refuses_an_image_without_cuda_with_another_remedy(
    gpu_host: Path, monkeypatch: pytest.MonkeyPatch, memory_log: Any
) -> None:
    monkeypatch.setattr(torch.version, "cuda", None)
    monkeypatch.setattr(device, "compute_on", compute_on)
    with pytest.raises(CudaUnavailableError, match="deploy with a GPU image: torch of this one is built without CUDA"):
        choose_device(settings("cuda"), memory_log.log)


def test_the_first_computation_detects_a_wrong_result(monkeypatch: pytest.MonkeyPatch) -> None:
    compute_on(torch.device("cpu"))
    monkeypatch.setattr(torch, "ones", torch.zeros)
    with pytest.raises(RuntimeError, match=r"a matrix product must sum to 4096, got 0\.0"):
        compute_on(torch.device("cpu"))


@pytest.mark.gpu
def test_computes_on_a_real_gpu(memory_log: Any) -> None:
    assert choose_device(settings("cuda"), memory_log.log) == torch.device("cuda", 0)
    assert memory_log.events("device")[0]["nvidia_driver"] != "not found"


@pytest.mark.parametrize(("text", "version"), [(PROPRIETARY, "470.256.02"), (OPEN, "550.163.01")])
def test_reads_the_driver_version_of_both_kernel_modules(tmp_path: Path, text: str, version: str) -> None:
    path = tmp_path / "version"
    path.write_text(text, encoding="utf-8")
    assert driver_version(path) == version


class Nvml:
    """NVML with a driver version, or one that fails to start."""

    def __init__(self, failure: int = 0) -> None:
        self._failure = failure

    def nvmlInit_v2(self) -> int:  # noqa: N802  (NVML's name)
        return self._failure

    def nvmlSystemGetDriverVersion(self, version: Any, length: int) -> int:  # noqa: N802  (NVML's name)
        assert length == 80
        version.value = b"535.183.01"
        return 0


@pytest.mark.parametrize(("library", "version"), [(Nvml(), "535.183.01"), (Nvml(failure=9), "not found")])
def test_asks_nvml_where_the_kernel_modules_file_is_missing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, library: Nvml, version: str
) -> None:
    monkeypatch.setattr(ctypes, "CDLL", {"libnvidia-ml.so.1": library}.__getitem__)
    assert driver_version(tmp_path / "missing") == version


def test_the_driver_is_not_found_without_nvml(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def missing(name: str) -> None:
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(ctypes, "CDLL", missing)
    assert driver_version(tmp_path / "missing") == "not found"


def test_only_a_gpu_gets_slots_for_a_full_batch() -> None:
    assert Capacity.for_requests(4, 16, torch.device("cuda", 0)).slots == MAX_SLOTS
    assert Capacity.for_requests(4, 16, torch.device("cpu")) == Capacity(slots=8, max_waiting=64)
    assert Capacity.for_requests(22, 16, torch.device("cpu")) == Capacity(slots=22, max_waiting=352)
    assert Capacity.for_requests(64, 16, torch.device("cpu")) == Capacity(slots=MAX_SLOTS, max_waiting=1024)
    assert Capacity.for_requests(64, 16, torch.device("cuda", 0)) == Capacity(slots=MAX_SLOTS, max_waiting=1024)


def test_the_worker_ends_with_one_line_when_cuda_is_asked_for_and_missing(
    staged_musicgen: Path, tmp_path: Path
) -> None:
    environment = {
        "PATH": "/usr/bin:/bin",
        "CUDA_VISIBLE_DEVICES": "",
        "SAGEMAKER_BIND_TO_PORT": str(free_port()),
        "MUSICGEN_OUTPUT_BUCKET": "out",
        "MUSICGEN_DEVICE": "cuda",
        "MUSICGEN_IMAGE": IMAGE,
        "MUSICGEN_LOG_FILE": str(tmp_path / "log"),
        "AWS_DEFAULT_REGION": "us-east-1",
        "TMPDIR": str(tmp_path),
    }
    command = [sys.executable, "-c", START, str(CODE), str(staged_musicgen)]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert (ended.returncode, ended.stderr) == (1, "")
    start, line = map(json.loads, (tmp_path / "log").read_text(encoding="utf-8").splitlines())
    assert (start["event"], line["event"]) == ("start", "cuda_unavailable")
    assert line["error"].startswith("CUDA must work when MUSICGEN_DEVICE is cuda, got ")
    assert set(line) == {"time", "event", "error", "remedy", "nvidia_driver", "torch", "torch_cuda", "image"}
    assert (line["torch"], line["image"]) == (torch.__version__, IMAGE)
