"""Many schedules, on all processors."""

import os
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from staging_simulation.schedule import Schedule, Violation

_CHUNK = 250  # schedules that a process takes at a time: some seconds
_ENOUGH = 5  # violations; more of them say nothing new


def run(seeds: range) -> bool:
    """Run these schedules and print what is wrong with the first that do not end well; whether all do."""
    chunks = [seeds[start : start + _CHUNK] for start in range(0, len(seeds), _CHUNK)]
    failed = 0
    with ProcessPoolExecutor(os.cpu_count(), get_context("spawn")) as pool:
        for wrong in pool.map(violations, chunks):
            for line in wrong:
                print(line, flush=True)
            failed += len(wrong)
            if failed >= _ENOUGH:
                pool.shutdown(cancel_futures=True)
                break
    return not failed


def violations(seeds: range) -> list[str]:
    """Run schedules one after another; return what is wrong with those that do not end well, and how to see it."""
    wrong: list[str] = []
    for seed in seeds:
        try:
            Schedule(seed).run()
        except Violation as error:
            wrong.append(f"{error}\nsee it again: python -m staging_simulation --seed {seed}")
    return wrong
