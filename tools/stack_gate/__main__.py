"""Compare two revisions of the stack: `python -m stack_gate --base main`. See docs/gate.md."""

import argparse
import json
import sys
import traceback
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from stack_gate import GateError
from stack_gate.boundary.approvals import Approvals, read_labels
from stack_gate.boundary.launch import check_standalone, run_by_base
from stack_gate.collect.git import WORKING_TREE, Repository
from stack_gate.findings import CLASSES
from stack_gate.gate import run
from stack_gate.report.report import COULD_NOT_RUN, NEEDS_LABEL, PASS
from stack_gate.report.sarif import as_sarif

VERDICTS = {PASS: "pass", NEEDS_LABEL: "needs a label", COULD_NOT_RUN: "could not run"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the base's gate. Exit status 0: pass; 1: needs a label; 2: could not run."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    options = _parser().parse_args(given)
    try:
        code = _judge(options, given)
    except GateError as error:
        print(f"stack gate: could not run: {error}", file=sys.stderr)
        code = COULD_NOT_RUN
    except Exception:  # Python would exit with 1, which means "needs a label" here
        traceback.print_exc()
        code = COULD_NOT_RUN
    return code


def _judge(options: argparse.Namespace, given: Sequence[str]) -> int:
    """Run the base's gate, or this one if it is the base's, and write the reports."""
    approvals = Approvals(
        classes=allowed_classes(options.allow),
        labels=None if options.approvals is None else read_labels(options.approvals),
        today=datetime.now(UTC).date(),
    )
    with Repository(Path.cwd()) as repository:
        if options.standalone:
            check_standalone(repository)
        else:
            code = run_by_base(repository, repository.tree(options.base), given)
            if code is not None:
                return code if code in VERDICTS else COULD_NOT_RUN
        report = run(
            repository,
            options.cache or repository.root / ".local" / "gate",
            base=options.base,
            head=options.head,
            approvals=approvals,
            deployed=options.deployed,
            environment=options.env,
            require_isolation=options.require_isolation,
        )
    outputs = (
        (options.json, json.dumps(report.as_json(), indent=2) + "\n"),
        (options.markdown, report.as_markdown()),
        (options.sarif, json.dumps(as_sarif(report), indent=2) + "\n"),
    )
    for file, content in outputs:
        if file is not None:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(content, encoding="utf-8")
    print(report.as_markdown())
    print(f"stack gate: {VERDICTS[report.exit_code]} (exit status {report.exit_code})", file=sys.stderr)
    return report.exit_code


def allowed_classes(classes: str) -> frozenset[str]:
    """Return the classes of a list such as "replace,money". Raise GateError for a class that does not exist."""
    names = [name.strip() for name in classes.split(",") if name.strip()]
    unknown = [name for name in names if name not in CLASSES]
    if unknown:
        raise GateError(f"--allow must be a list of {', '.join(CLASSES)}, got {', '.join(unknown)}")
    return frozenset(names)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m stack_gate", description=__doc__)
    parser.add_argument("--base", required=True, help="revision to compare with, for example main")
    parser.add_argument("--head", default=WORKING_TREE, help="revision to check; default: the working tree")
    parser.add_argument("--allow", default="", metavar="CLASSES", help=f"comma-separated, of {', '.join(CLASSES)}")
    parser.add_argument("--approvals", type=Path, help="what the labels cover, from boundary.label_approvals")
    parser.add_argument("--env", help="check only this environment")
    parser.add_argument("--deployed", type=Path, help="a deployed template to compare with instead of the base's")
    parser.add_argument("--json", type=Path, help="file to write the JSON report to")
    parser.add_argument("--markdown", type=Path, help="file to write the Markdown comment to")
    parser.add_argument("--sarif", type=Path, help="file to write the SARIF report to, for code scanning")
    parser.add_argument("--cache", type=Path, help="folder for snapshots and wheels; default: .local/gate")
    parser.add_argument("--standalone", action="store_true", help="judge a repository that does not contain this gate")
    parser.add_argument("--require-isolation", action="store_true", help="do not run the head's code without a sandbox")
    return parser


if __name__ == "__main__":
    sys.exit(main())
