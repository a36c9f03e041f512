"""`python -m staging_simulation --schedules N [--first SEED]`, or `--seed S` to see one schedule's story."""

import argparse
import sys

from staging_simulation.campaign import run
from staging_simulation.schedule import describe


def main() -> int:
    """Run schedules; return 1 if one does not end well, having said how to see it again."""
    parser = argparse.ArgumentParser(prog="staging_simulation", description=__doc__)
    parser.add_argument("--schedules", type=int, default=5000, help="how many (default 5000)")
    parser.add_argument("--first", type=int, default=0, help="the first seed (default 0)")
    parser.add_argument("--seed", type=int, help="tell the story of this seed instead")
    options = parser.parse_args()
    if options.seed is not None:
        print(describe(options.seed))
        return 0
    if not run(range(options.first, options.first + options.schedules)):
        return 1
    print(f"{options.schedules} schedules ended well, from seed {options.first}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
