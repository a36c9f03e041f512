"""`python -m local_aws.walkthrough`: what `make local` runs."""

from __future__ import annotations

import argparse
import signal
import sys
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

from local_aws.walkthrough.keep import stay_until_interrupted
from local_aws.walkthrough.report import Report
from local_aws.walkthrough.steps import STEPS, Walkthrough
from local_aws.walkthrough.usage import Order

PROJECT = Path(__file__).parents[3]
SHORTEST, LONGEST = 0.1, 30.0  # seconds of audio


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="local_aws.walkthrough", description=__doc__)
    parser.add_argument("--prompt", default="80s pop track with bassy drums and synth", help="what to play")
    parser.add_argument("--duration", type=_seconds, default=3.0, help="seconds of audio, 0.1 to 30")
    parser.add_argument("--keep", action="store_true", help="leave it running until Ctrl-C, and say how to use it")
    parser.add_argument("--state", type=Path, help="folder for logs and results; default a new one under .local/")
    return parser.parse_args()


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = float("nan")
    if not SHORTEST <= seconds <= LONGEST:
        raise argparse.ArgumentTypeError(f"must be {SHORTEST} to {LONGEST:.0f} seconds, got {text}")
    return seconds


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def main() -> int:
    """Run the walkthrough: 0 when every step did what it should, 1 when one did not, 130 when interrupted."""
    arguments = _arguments()
    for number in (signal.SIGINT, signal.SIGTERM):  # SIGINT too: a shell's background jobs start with it ignored
        signal.signal(number, _interrupt)
    state: Path = arguments.state or PROJECT / ".local" / datetime.now(UTC).strftime("run-%Y%m%d-%H%M%S")
    state.mkdir(parents=True)
    report = Report(sys.stdout, STEPS)
    order = Order(arguments.prompt, arguments.duration)
    walkthrough = Walkthrough(PROJECT, state, report, order, stay_until_interrupted(report) if arguments.keep else None)
    try:
        walkthrough.run()
    except KeyboardInterrupt:
        report.failed("interrupted; everything that was started has been ended", str(state))
        return 130
    except Exception as error:
        report.failed(f"{error or type(error).__name__}", str(state))
        return 1
    report.summary(
        [
            f"\nyour clip: {walkthrough.wav}",
            "It is noise, by construction: the weights are random. With an AWS account, `make deploy` stages Meta's.",
        ]
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
