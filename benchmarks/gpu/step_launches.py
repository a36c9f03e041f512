"""Count the launches, copies and waits of a step with the profiler, in a separate process.

With CUDA 12.4, starting the profiler after graphs were recorded may cause an illegal access, which would end the
engine's process (https://github.com/pytorch/pytorch/issues/75504), and code that runs after a trace is slower
(https://github.com/pytorch/pytorch/issues/144455).
"""

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from torch.profiler import ProfilerActivity, profile, record_function, supported_activities

from benchmarks.gpu.clip_times import Plan, admitted, run_steps, running_engine

GRAPHS = ("cudaGraphLaunch",)
KERNELS = ("cudaLaunchKernel", "cudaLaunchKernelExC", "cuLaunchKernel", "cuLaunchKernelEx", "cudaMemsetAsync")
COPIES = ("cudaMemcpyAsync", "cudaMemcpy")
WAITS = ("cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaEventSynchronize", "cudaMemcpy")
MEASURED = "measured steps"  # the profiler's name for the block
TIMEOUT_SECONDS = 300.0  # to load the largest model, record its graphs and trace twenty steps


def calls_per_step(work: Callable[[], None], steps: int) -> dict[str, Any]:
    """Return launches of graphs and kernels, copies and waits per step; None for each if CUDA cannot be profiled."""
    if ProfilerActivity.CUDA not in supported_activities():
        return dict.fromkeys(("graph_launches", "other_kernels", "copies", "waits"))
    return count_by_kind(host_calls(work, [ProfilerActivity.CPU, ProfilerActivity.CUDA]), steps)


def host_calls(work: Callable[[], None], activities: list[ProfilerActivity]) -> list[str]:
    """Return the names of the host's calls during the work, without the profiler's own."""
    with profile(activities=activities) as trace, record_function(MEASURED):
        work()
    events = list(trace.events() or ())
    whole = next(event.time_range for event in events if event.name == MEASURED)
    return [event.name for event in events if whole.start < event.time_range.start < whole.end]


def count_by_kind(names: Iterable[str], steps: int) -> dict[str, Any]:
    """Count a trace's calls by kind, per step."""
    counts = Counter(names)
    kinds = {"graph_launches": GRAPHS, "other_kernels": KERNELS, "copies": COPIES, "waits": WAITS}
    return {name: sum(counts[call] for call in group) / steps for name, group in kinds.items()}


def trace_steps(folder: Path, count: int) -> dict[str, Any]:
    """Return the calls in a step of one clip, averaged over `count` steps, or `failed` with the reason."""
    command = [sys.executable, "-m", "benchmarks.gpu.step_launches", str(folder), str(count)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=TIMEOUT_SECONDS)
    except subprocess.TimeoutExpired:
        return {"failed": f"the trace took longer than {TIMEOUT_SECONDS:.0f} s"}
    if done.returncode != 0:
        return {"failed": f"the trace ended with exit code {done.returncode}: {done.stderr[-500:]}"}
    return json.loads(done.stdout.splitlines()[-1])


def trace_here(folder: Path, count: int) -> dict[str, Any]:
    """Load the engine and trace `count` steps in this process, which may end with an error of CUDA."""
    plan = Plan(steps=2 * count, rounds=1, in_flight=(), stock=(), stock_steps=0)
    with running_engine(folder, 1, eight_bit=False) as (generator, _), admitted(generator, 1, plan):
        run_steps(generator, 1, 0, count)
        return calls_per_step(lambda: run_steps(generator, 1, count, 2 * count), count)


if __name__ == "__main__":
    print(json.dumps(trace_here(Path(sys.argv[1]), int(sys.argv[2]))))
