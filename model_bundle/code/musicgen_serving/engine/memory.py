"""How many slots the device's memory holds."""

import os

import torch

GIB = 1024**3
RESERVED = 2 * GIB  # on a GPU, for what a step, a text or EnCodec computes in passing


def free_bytes(device: torch.device) -> int:
    """Memory that slots may take: on a GPU all that is free less a reserve, on a CPU half of what is."""
    if device.type == "cuda":
        torch.cuda.empty_cache()  # what start-up had and no longer needs
        return torch.cuda.mem_get_info(device)[0] - RESERVED
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2


def slots_that_fit(wanted: int, slot_bytes: int, free: int) -> int:
    """As many slots as wanted, or as fit; ValueError where not even one does."""
    fitting = min(wanted, free // slot_bytes)
    if fitting < 1:
        raise ValueError(f"free memory must hold one slot of {slot_bytes / GIB:.2f} GiB, got {free / GIB:.2f} GiB")
    return fitting
