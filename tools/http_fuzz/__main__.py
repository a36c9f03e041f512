"""Fuzz the container's HTTP server: `python -m http_fuzz --requests 30000 --seed 1`."""

import argparse
import sys
import tempfile
import time
from pathlib import Path

from http_fuzz.fuzz import run

MAX_GROWTH = 0.05


def main() -> int:
    """Print what a run saw; return 1 if a response is wrong or memory has grown by more than MAX_GROWTH."""
    parser = argparse.ArgumentParser(prog="http_fuzz", description=__doc__)
    parser.add_argument("--requests", type=int, default=30_000, help="requests to send (default: 30000)")
    parser.add_argument("--seed", type=int, default=1, help="which requests (default: 1)")
    arguments = parser.parse_args()
    early, started = min(5000, arguments.requests // 6), time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        report = run(Path(folder), arguments.requests, arguments.seed, early)
    statuses = ", ".join(f"{status}: {number}" for status, number in sorted(report.statuses.items()))
    print(f"{report.requests} requests in {time.monotonic() - started:.0f} s, seed {arguments.seed}; {statuses}")
    early_mib, late_mib = report.rss_early / 2**20, report.rss_late / 2**20
    print(f"memory {early_mib:.1f} MiB after {early}, {late_mib:.1f} MiB at the end ({report.growth:+.1%}); ", end="")
    print(f"{report.threads} threads")
    for failure in report.failures[:20]:
        print(failure)
    return 1 if report.failures or report.growth > MAX_GROWTH else 0


if __name__ == "__main__":
    sys.exit(main())
