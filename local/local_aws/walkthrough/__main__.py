"""`python -m local_aws.walkthrough`, which `make local` and `make demo` run."""

import argparse
import signal
import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from types import FrameType

from local_aws.walkthrough.client import ClipRequest
from local_aws.walkthrough.report import Report
from local_aws.walkthrough.run_folders import new_run
from local_aws.walkthrough.steps import DEMO_STEPS, STEPS, Walkthrough

PROJECT = Path(__file__).parents[3]
PROMPT = "80s pop track in D minor with fast drums and bassy synth"  # five words mean nothing to the toy model
MIN_SECONDS, MAX_SECONDS = 0.1, 30.0  # of audio


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="local_aws.walkthrough", description=__doc__)
    parser.add_argument("--prompt", default=PROMPT, help="what to play; the toy model understands a few words")
    parser.add_argument("--duration", type=_seconds, default=3.0, help="seconds of audio, 0.1 to 30")
    parser.add_argument("--piece", action="store_true", help="also make a piece of five minutes in ten sections")
    parser.add_argument(
        "--melody", action="store_true", help="deploy the toy melody model; clips follow a hummed melody"
    )
    parser.add_argument(
        "--keep", action="store_true", help="keep the stack running until Ctrl-C, and show how to use it"
    )
    parser.add_argument(
        "--page",
        type=Path,
        metavar="PYTHON",
        help="show the client's page with this interpreter's packages, and nothing else",
    )
    parser.add_argument("--state", type=Path, help="folder for logs and results (default: a new one under .local/)")
    arguments = parser.parse_args()
    if arguments.melody and arguments.piece:
        parser.error("--piece is heard by its prompt, which the toy melody model ignores: not with --melody")
    return arguments


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = float("nan")
    if not MIN_SECONDS <= seconds <= MAX_SECONDS:
        raise argparse.ArgumentTypeError(f"must be {MIN_SECONDS} to {MAX_SECONDS:.0f} seconds, got {text}")
    return seconds


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def main() -> int:
    """Run the walkthrough. Return 0 if every step succeeded, 1 if one failed, 130 if interrupted."""
    arguments = _arguments()
    for number in (signal.SIGINT, signal.SIGTERM):  # SIGINT too: a shell starts background jobs with it ignored
        signal.signal(number, _interrupt)
    report = Report(sys.stdout, DEMO_STEPS if arguments.page else STEPS + arguments.piece)
    request = ClipRequest(arguments.prompt, arguments.duration, arguments.melody)
    with _folder(arguments.state) as state:
        print(f"logs: {state} (cdk.log has the whole output of the CDK CLI)", flush=True)
        page = arguments.page and arguments.page.absolute()
        walkthrough = Walkthrough(
            PROJECT, state, report, request, keep_running=arguments.keep, piece=arguments.piece, page=page
        )
        return _run(walkthrough)


def _folder(given: Path | None) -> AbstractContextManager[Path]:
    if given is None:
        return new_run(PROJECT / ".local")
    given.mkdir(parents=True)
    return nullcontext(given)


def _run(walkthrough: Walkthrough) -> int:
    report, state = walkthrough.report, walkthrough.state
    try:
        walkthrough.run()
    except KeyboardInterrupt:
        report.failed("interrupted; everything that was started has been stopped", str(state))
        return 130
    except Exception as error:
        report.failed(f"{error or type(error).__name__}", str(state))
        return 1
    if walkthrough.page:
        report.summary([])
        return 0
    report.summary(
        [
            f"\nyour clip: {walkthrough.wav}",
            f"It plays {walkthrough.heard}, by a toy model that says nothing about MusicGen's quality.",
            "With an AWS account, `make deploy` stages Meta's weights.",
        ]
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
