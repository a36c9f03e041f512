"""Command line of the gate: `python -m stack_gate --base main`. See docs/gate.md."""

import argparse
import json
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

from stack_gate.errors import GateError
from stack_gate.findings import CLASSES, label
from stack_gate.gate import Question, run
from stack_gate.git import WORKING_TREE, Repository
from stack_gate.markdown import markdown
from stack_gate.report import COULD_NOT_RUN, Report


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the gate; 0: pass, 1: needs a label, 2: could not run."""
    options = _parser().parse_args(arguments)
    try:
        allowed = allowed_classes(options.allow, options.labels)
        question = Question(
            base=options.base,
            head=options.head,
            allowed=allowed,
            deployed=options.deployed,
            environment=options.env,
        )
        with Repository(Path.cwd()) as repository:
            report = run(question, repository, options.cache or repository.root / ".local" / "gate")
    except GateError as error:
        print(f"stack gate: could not run: {error}", file=sys.stderr)
        return COULD_NOT_RUN
    except Exception:  # Python's own exit status for it is 1, which here is a verdict
        traceback.print_exc()
        return COULD_NOT_RUN
    _write(report, options.json, options.markdown)
    return report.exit_code


def allowed_classes(classes: str, labels: str = "") -> frozenset[str]:
    """What classes such as `replace,money` allow, and the labels of a pull request, of which only the gate's own count.

    GateError for a class that does not exist.
    """
    named = _words(classes)
    unknown = [name for name in named if name not in CLASSES]
    if unknown:
        raise GateError(f"--allow must be of {', '.join(CLASSES)}, got {', '.join(unknown)}")
    prefix = label("")
    labelled = [name.removeprefix(prefix) for name in _words(labels) if name.startswith(prefix)]
    return frozenset([*named, *labelled]) & CLASSES.keys()


def _words(text: str) -> list[str]:
    return [word for word in (part.strip() for part in text.split(",")) if word]


def _write(report: Report, json_file: Path | None, markdown_file: Path | None) -> None:
    text = markdown(report)
    written = {json_file: json.dumps(report.as_json(), indent=2) + "\n", markdown_file: text}
    for file, content in written.items():
        if file is not None:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(content, encoding="utf-8")
    print(text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m stack_gate", description=__doc__)
    parser.add_argument("--base", required=True, help="the revision to compare with, for example main")
    parser.add_argument("--head", default=WORKING_TREE, help="the revision to judge; default: the working tree")
    parser.add_argument("--allow", default="", metavar="CLASSES", help=f"of {', '.join(CLASSES)}; comma-separated")
    parser.add_argument("--labels", default="", help="a pull request's labels, comma-separated; gate:<class> allow")
    parser.add_argument("--env", help="judge this environment alone")
    parser.add_argument("--deployed", type=Path, help="a deployed template, to compare with instead of the base's")
    parser.add_argument("--json", type=Path, help="where the report goes as JSON")
    parser.add_argument("--markdown", type=Path, help="where the comment goes as Markdown")
    parser.add_argument("--cache", type=Path, help="where synths and wheels are kept; default: .local/gate")
    return parser


if __name__ == "__main__":
    sys.exit(main())
