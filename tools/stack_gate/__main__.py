"""Compare two revisions of the stack: `python -m stack_gate --base main`. See docs/gate.md."""

import argparse
import json
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

from stack_gate import GateError
from stack_gate.collect.git import WORKING_TREE, Repository
from stack_gate.findings import CLASSES, label
from stack_gate.gate import run
from stack_gate.report.report import COULD_NOT_RUN


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the gate. Exit status 0: pass; 1: needs a label; 2: could not run."""
    options = _parser().parse_args(arguments)
    try:
        with Repository(Path.cwd()) as repository:
            report = run(
                repository,
                options.cache or repository.root / ".local" / "gate",
                base=options.base,
                head=options.head,
                allowed=allowed_classes(options.allow, options.labels),
                deployed=options.deployed,
                environment=options.env,
            )
    except GateError as error:
        print(f"stack gate: could not run: {error}", file=sys.stderr)
        return COULD_NOT_RUN
    except Exception:  # Python would exit with 1, which means "needs a label" here
        traceback.print_exc()
        return COULD_NOT_RUN
    outputs = {options.json: json.dumps(report.as_json(), indent=2) + "\n", options.markdown: report.as_markdown()}
    for file, content in outputs.items():
        if file is not None:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(content, encoding="utf-8")
    print(report.as_markdown())
    return report.exit_code


def allowed_classes(classes: str, labels: str = "") -> frozenset[str]:
    """Return the classes allowed by `classes` ("replace,money") and by a pull request's labels ("bug,gate:money").

    Labels that are not the gate's are ignored. Raise GateError for a class that does not exist.
    """
    names = [name.strip() for name in classes.split(",") if name.strip()]
    unknown = [name for name in names if name not in CLASSES]
    if unknown:
        raise GateError(f"--allow must be a list of {', '.join(CLASSES)}, got {', '.join(unknown)}")
    prefix = label("")
    labelled = [name.strip().removeprefix(prefix) for name in labels.split(",") if name.strip().startswith(prefix)]
    return frozenset([*names, *labelled]) & CLASSES.keys()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m stack_gate", description=__doc__)
    parser.add_argument("--base", required=True, help="revision to compare with, for example main")
    parser.add_argument("--head", default=WORKING_TREE, help="revision to check; default: the working tree")
    parser.add_argument("--allow", default="", metavar="CLASSES", help=f"comma-separated, of {', '.join(CLASSES)}")
    parser.add_argument(
        "--labels", default="", help="a pull request's labels, comma-separated; gate:<class> allows one"
    )
    parser.add_argument("--env", help="check only this environment")
    parser.add_argument("--deployed", type=Path, help="a deployed template to compare with instead of the base's")
    parser.add_argument("--json", type=Path, help="file to write the JSON report to")
    parser.add_argument("--markdown", type=Path, help="file to write the Markdown comment to")
    parser.add_argument("--cache", type=Path, help="folder for snapshots and wheels; default: .local/gate")
    return parser


if __name__ == "__main__":
    sys.exit(main())
