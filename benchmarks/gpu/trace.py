"""What the host asks of a GPU in a step, counted in a profiler's trace."""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from torch.profiler import ProfilerActivity, profile, supported_activities

GRAPHS = ("cudaGraphLaunch",)
KERNELS = ("cudaLaunchKernel", "cudaLaunchKernelExC", "cuLaunchKernel", "cuLaunchKernelEx", "cudaMemsetAsync")
COPIES = ("cudaMemcpyAsync", "cudaMemcpy")
WAITS = ("cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaEventSynchronize", "cudaMemcpy")


def per_step(work: Callable[[], None], steps: int) -> dict[str, Any]:
    """Launches of graphs and kernels, copies and waits per step of the work; None where there is nothing to count."""
    if ProfilerActivity.CUDA not in supported_activities():
        return dict.fromkeys(("graph_launches", "other_kernels", "copies", "waits"))
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as trace:
        work()
    return counted([event.name for event in trace.events() or ()], steps)


def counted(names: Iterable[str], steps: int) -> dict[str, Any]:
    """The same from the names of a trace's calls. The profiler itself waits once for the device, at the end."""
    seen = Counter(names)

    def total(*kinds: str) -> float:
        return sum(seen[kind] for kind in kinds) / steps

    own = seen["cudaDeviceSynchronize"] and 1
    return {
        "graph_launches": total(*GRAPHS),
        "other_kernels": total(*KERNELS),
        "copies": total(*COPIES),
        "waits": total(*WAITS) - own / steps,
    }
