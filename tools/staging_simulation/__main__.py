"""`python -m staging_simulation --schedules N [--first SEED]`, or `--seed S` for the trace of one schedule."""

import argparse
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from staging_simulation.schedule import describe, violations

_CHUNK = 250  # schedules per task of a process: some seconds
_MAX_VIOLATIONS = 5


def main() -> int:
    """Run the schedules on all processors; return 1 and print how to reproduce the failures, if there are any."""
    parser = argparse.ArgumentParser(prog="staging_simulation", description=__doc__)
    parser.add_argument("--schedules", type=int, default=5000, help="how many (default 5000)")
    parser.add_argument("--first", type=int, default=0, help="the first seed (default 0)")
    parser.add_argument("--seed", type=int, help="print the trace of this seed instead")
    options = parser.parse_args()
    if options.seed is not None:
        print(describe(options.seed))
        return 0
    seeds = range(options.first, options.first + options.schedules)
    chunks = [seeds[start : start + _CHUNK] for start in range(0, len(seeds), _CHUNK)]
    failed = 0
    with ProcessPoolExecutor(os.cpu_count(), get_context("spawn")) as pool:
        for found in pool.map(violations, chunks):
            for line in found:
                print(line, flush=True)
            failed += len(found)
            if failed >= _MAX_VIOLATIONS:
                pool.shutdown(cancel_futures=True)
                break
    if failed:
        return 1
    print(f"{options.schedules} schedules passed, from seed {options.first}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
