"""Post the gate's report on its pull request, or update the comment that is there.

    python -m stack_gate.report.comment --report FOLDER --pull-request NUMBER --commit SHA

Runs in a job of its own, from the base, with a token that may write comments. The report in the folder is a file of
another job: it is only used as a comment's body, and its digests as digests.
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from stack_gate import GateError
from stack_gate.boundary.approvals import DIGEST, parse_labels
from stack_gate.boundary.gitlab import host_from_environment
from stack_gate.boundary.label_approvals import MARK, Record, gate_comment
from stack_gate.boundary.rest import Host
from stack_gate.findings import CLASSES
from stack_gate.report.report import COULD_NOT_RUN, MAX_CHARACTERS, PASS
from stack_gate.template import as_object

COMMENT, REPORT = "comment.md", "report.json"
MAX_REPORT_BYTES = 64 << 20


def main(arguments: Sequence[str] | None = None) -> int:
    """Post or update the comment. Exit status 0: done; 2: could not."""
    options = _parser().parse_args(arguments)
    try:
        print(publish(options.report, options.pull_request, options.commit, host_from_environment(os.environ)))
    except GateError as error:
        print(f"stack gate: no comment: {error}", file=sys.stderr)
        return COULD_NOT_RUN
    return PASS


def publish(report: Path, number: int, commit: str, host: Host) -> str:
    """Put the report of a run for `commit` on its pull request, and return what was done.

    Raise GateError if the report is malformed or the pull request is at another commit.
    """
    if host.head_commit(number) != commit:
        raise GateError(f"pull request {number} is no longer at {commit}, the commit of the run")
    body = f"{_read_body(report / COMMENT)}\n{_read_record(report / REPORT).line()}\n"
    comment = gate_comment(host, number)
    if comment is not None:
        host.update_comment(number, comment["id"], body)
        return f"updated the comment on pull request {number}"
    host.add_comment(number, body)
    return f"commented on pull request {number}"


def _read_body(path: Path) -> str:
    if not path.is_file() or path.stat().st_size > 4 * MAX_CHARACTERS:
        raise GateError(f"the report's {COMMENT} must be a file of at most {MAX_CHARACTERS} characters")
    text = path.read_text(encoding="utf-8", errors="replace").removeprefix(MARK).strip()[:MAX_CHARACTERS]
    return f"{MARK}\n{text}\n"


def _read_record(path: Path) -> Record:
    """Return the digests that the report shows, and what each label was found to cover."""
    try:
        if path.stat().st_size > MAX_REPORT_BYTES:
            raise ValueError(f"more than {MAX_REPORT_BYTES >> 20} MiB")
        raw = as_object(json.loads(path.read_text(encoding="utf-8")))
        digests = {str(name): str(digest) for name, digest in as_object(raw.get("digests")).items()}
        if not all(name in CLASSES and DIGEST.fullmatch(digest) for name, digest in digests.items()):
            raise ValueError("digests must be of classes, with 16 hexadecimal digits each")
        return Record(digests=digests, labels=parse_labels(raw.get("label_approvals")))
    except (OSError, ValueError) as error:
        raise GateError(f"the report's {REPORT} could not be read: {error}") from error


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m stack_gate.report.comment", description=__doc__)
    parser.add_argument("--report", type=Path, required=True, help=f"folder with {COMMENT} and {REPORT}")
    parser.add_argument("--pull-request", type=int, required=True, help="its number")
    parser.add_argument("--commit", required=True, help="the commit that the report's run was for")
    return parser


if __name__ == "__main__":
    sys.exit(main())
