"""Choose the device, and refuse to start where the stack asked for a GPU and CUDA does not work.

Generating on a GPU instance's CPU passes the warm-up, and then every request times out. torch is imported when it is
needed: multi-model-server's supervisor imports this module and must not load it.
"""

import ctypes
import re
from pathlib import Path
from typing import TYPE_CHECKING

from musicgen_serving.json_log import JsonLog
from musicgen_serving.settings import Settings

if TYPE_CHECKING:
    import torch

DRIVER_FILE = Path("/proc/driver/nvidia/version")
NOT_FOUND = "not found"


class CudaUnavailableError(Exception):
    """The stack asked for CUDA, and it does not work; `versions` has the driver, torch, its CUDA version and the image.

    An asynchronous endpoint on g4dn or g5 starts with driver 470 unless its variant sets InferenceAmiVersion, and torch
    built for CUDA 12 refuses it (https://github.com/bentoml/aws-sagemaker-deploy/issues/50).
    """

    def __init__(self, reason: str, versions: dict[str, str | None]) -> None:
        cuda = versions["torch_cuda"]
        self.remedy = "deploy with a GPU image: torch of this one is built without CUDA; see docs/first-deployment.md"
        if cuda:
            wanted = f"one whose driver supports CUDA {cuda}"
            self.remedy = (
                f"in infra/config/instances.json set this instance type's InferenceAmiVersion to {wanted}, and deploy "
                "again; see docs/first-deployment.md"
            )
        found = ", ".join(f"{name} {value}" for name, value in versions.items())
        super().__init__(f"CUDA must work when MUSICGEN_DEVICE is cuda, got {reason} ({found}); {self.remedy}")
        self.reason = reason
        self.versions = versions


def choose_device(settings: Settings, log: JsonLog) -> "torch.device":
    """Return the device that MUSICGEN_DEVICE names, CUDA if it is unset and available, and log it with all versions.

    Raises CudaUnavailableError if it must be CUDA and a first computation fails.
    """
    import torch

    versions = {
        "nvidia_driver": driver_version(DRIVER_FILE),
        "torch": str(torch.__version__),
        "torch_cuda": torch.version.cuda,
        "image": settings.image,
    }
    name = settings.device or ("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device("cuda", 0) if name == "cuda" else torch.device("cpu")
    if settings.device == "cuda":
        try:
            compute_on(device)
        except (
            Exception
        ) as error:  # AssertionError without CUDA in torch, RuntimeError for a driver, OSError for a library
            reason = f"{type(error).__name__}: {error}".splitlines()[0]
            raise CudaUnavailableError(reason, versions) from error
    chosen_by = (
        f"MUSICGEN_DEVICE={settings.device}" if settings.device else "MUSICGEN_DEVICE is unset: CUDA if available"
    )
    log.write("device", device=str(device), chosen_by=chosen_by, **versions)
    return device


def compute_on(device: "torch.device") -> None:
    """Multiply two small matrices on the device; raise what torch raises, or RuntimeError if the result is wrong."""
    import torch

    ones = torch.ones(16, 16, device=device)
    total = float((ones @ ones).sum())
    if total != 16**3:
        raise RuntimeError(f"a matrix product must sum to {16**3}, got {total}")


def driver_version(path: Path) -> str:
    """Return the NVIDIA driver's version from the kernel module, else from NVML, else "not found"."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return _nvml_driver_version()
    # "… NVIDIA UNIX x86_64 Kernel Module  550.163.01  …", or "… Open Kernel Module for x86_64  550.163.01  …"
    found = re.search(r"Kernel Module(?: for \S+)?\s+(\d+(?:\.\d+)+)", text)
    return found[1] if found else _nvml_driver_version()


def _nvml_driver_version() -> str:
    version = ctypes.create_string_buffer(80)  # NVML_SYSTEM_DRIVER_VERSION_BUFFER_SIZE
    try:
        nvml = ctypes.CDLL("libnvidia-ml.so.1")
        failed = nvml.nvmlInit_v2() or nvml.nvmlSystemGetDriverVersion(version, len(version))
    except (OSError, AttributeError):
        return NOT_FOUND
    return NOT_FOUND if failed else version.value.decode()
