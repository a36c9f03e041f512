"""`local-aws`: run the embedded AWS in the foreground, or print the environment that directs tools to a running one.

local-aws start --state .local/aws &
source <(local-aws env --state .local/aws)
"""

import argparse
import signal
import sys
import threading
from pathlib import Path

from local_aws.emulator.environment import add_instance_environment, shell_exports
from local_aws.emulator.process import LocalAws


def main() -> int:
    """Run the command line; see the module's docstring."""
    parser = argparse.ArgumentParser(prog="local-aws", description=__doc__.splitlines()[0] if __doc__ else None)
    commands = parser.add_subparsers(dest="command", required=True)
    start = commands.add_parser("start", help="run until Ctrl-C, and print the environment's file")
    environment = commands.add_parser("env", help="print the environment of a running one, for `source <(…)`")
    for command in (start, environment):
        command.add_argument("--state", type=Path, required=True, help="folder for certificates, logs and functions")
    start.add_argument(
        "--clock-factor", type=float, default=1.0, help="speed of the clock of alarms and scaling (default: 1)"
    )
    add_instance_environment(start)
    arguments = parser.parse_args()
    if arguments.command == "env":
        return _print_environment(arguments.state)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):  # SIGINT too: a shell starts background jobs with it ignored
        signal.signal(number, lambda _number, _frame: stop.set())
    instances = dict(arguments.instance_env)
    with LocalAws(arguments.state, clock_factor=arguments.clock_factor, instance_environment=instances) as aws:
        script = aws.state_dir / "environment.sh"
        script.write_text(shell_exports(aws.environment()), encoding="utf-8")
        print(f"{aws.endpoint_url} is ready; in another shell: source {script}", flush=True)
        stop.wait()
    return 0


def _print_environment(state: Path) -> int:
    try:
        aws = LocalAws.running(state)
    except FileNotFoundError:
        print(f"no embedded AWS runs on {state}; start it with: local-aws start --state {state}", file=sys.stderr)
        return 1
    print(shell_exports(aws.environment()), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
