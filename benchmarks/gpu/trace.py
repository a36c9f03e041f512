"""What the host asks of a GPU in a step, counted in a profiler's trace."""

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from torch.profiler import ProfilerActivity, profile, record_function, supported_activities

GRAPHS = ("cudaGraphLaunch",)
KERNELS = ("cudaLaunchKernel", "cudaLaunchKernelExC", "cuLaunchKernel", "cuLaunchKernelEx", "cudaMemsetAsync")
COPIES = ("cudaMemcpyAsync", "cudaMemcpy")
WAITS = ("cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaEventSynchronize", "cudaMemcpy")
MEASURED = "what is counted"


def per_step(work: Callable[[], None], steps: int) -> dict[str, Any]:
    """Launches of graphs and kernels, copies and waits per step of the work; None where there is nothing to count."""
    if ProfilerActivity.CUDA not in supported_activities():
        return dict.fromkeys(("graph_launches", "other_kernels", "copies", "waits"))
    return counted(calls(work, [ProfilerActivity.CPU, ProfilerActivity.CUDA]), steps)


def calls(work: Callable[[], None], activities: list[ProfilerActivity]) -> list[str]:
    """The names of the calls that the host makes during the work, without the profiler's own before and after."""
    with profile(activities=activities) as trace, record_function(MEASURED):
        work()
    events = list(trace.events() or ())
    whole = next(event.time_range for event in events if event.name == MEASURED)
    return [event.name for event in events if whole.start < event.time_range.start < whole.end]


def counted(names: Iterable[str], steps: int) -> dict[str, Any]:
    """What a trace's calls were, per step."""
    seen = Counter(names)
    kinds = {"graph_launches": GRAPHS, "other_kernels": KERNELS, "copies": COPIES, "waits": WAITS}
    return {name: sum(seen[call] for call in group) / steps for name, group in kinds.items()}
