"""Memory that does not rest between launches: a product asks for the beginning of the weight that the next one reads.

A launch of a CUDA graph begins a microsecond or so after the last one has ended, its first weights come a microsecond
later still, and attention to a short sequence reads next to nothing: for as long, an H100 could have read some 7 MB.
What is asked for here comes into the L2 cache meanwhile; nothing waits for it. How much of it helps is unmeasured.
"""
# pyright: reportUnknownParameterType=false, reportMissingParameterType=false, reportUnknownArgumentType=false
# pyright: reportUnknownVariableType=false, reportUnknownMemberType=false

import torch
import triton.language as tl

from musicgen_serving.engine.kernels.kernel import kernel

SHARE = 8  # of the L2 cache, one in so many: 6 MB on an H100, 0.75 on an A10G; more might displace what is in use
ABSENT = 6 * 2**20  # where kernels are only compiled
LINE = tl.constexpr(64)  # bytes asked for at a time: half a cache line, as a GPU may fetch it by halves
LANES = tl.constexpr(256)


def bytes_ahead(device: torch.device) -> int:
    """How much of the next weight to ask for; nothing on a CPU, whose interpreter knows no prefetch."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).L2_cache_size) // SHARE
    return 0 if device.type == "cpu" else ABSENT


@kernel
def prefetch(ahead, ahead_size):
    """Ask for this program's share of the `ahead_size` bytes at `ahead`; shares may overlap, and none goes beyond."""
    programs = tl.num_programs(0) * tl.num_programs(1)
    lines = ahead_size // LINE
    share = (lines + programs - 1) // programs
    first = (tl.program_id(1) * tl.num_programs(0) + tl.program_id(0)) * share
    for start in range(0, share, LANES):
        line = tl.minimum(first + start + tl.arange(0, LANES), lines - 1)
        tl.inline_asm_elementwise(
            "prefetch.global.L2 [$1]; mov.u32 $0, 0;", "=r,l", [ahead.to(tl.int64) + line * LINE],
            dtype=tl.int32, is_pure=False, pack=1,
        )  # fmt: skip
