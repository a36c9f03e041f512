"""What the host asks of a device in a step, traced in a process of its own that is told a checkpoint's folder.

With CUDA 12.4 a profiler that first runs when graphs are recorded already may end in an illegal access, which would
end the engine's process (https://github.com/pytorch/pytorch/issues/75504); and what is timed after a trace is slower
(https://github.com/pytorch/pytorch/issues/144455).
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.gpu import ours
from benchmarks.gpu.trace import per_step

_AT_MOST_S = 300.0  # for loading the largest model, recording its graphs and twenty steps


def traced(folder: Path, count: int) -> dict[str, Any]:
    """Calls in a step of one clip, on the average of `count` steps; `failed` and why where there is no trace."""
    command = [sys.executable, "-m", "benchmarks.gpu.step_trace", str(folder), str(count)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_AT_MOST_S)
    except subprocess.TimeoutExpired:
        return {"failed": f"the trace took longer than {_AT_MOST_S:.0f} s"}
    if done.returncode != 0:
        return {"failed": f"the trace ended with exit code {done.returncode}: {done.stderr[-500:]}"}
    return json.loads(done.stdout.splitlines()[-1])


def main(folder: Path, count: int) -> None:
    """Load, trace and print."""
    plan = ours.Plan(steps=2 * count, rounds=1, in_flight=(), stock=(), stock_steps=0)
    with ours.loaded(folder, 1, eight_bit=False) as (generator, _), ours.prepared(generator, 1, plan):
        ours.steps(generator, 1, 0, count)
        found = per_step(lambda: ours.steps(generator, 1, count, 2 * count), count)
    print(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
