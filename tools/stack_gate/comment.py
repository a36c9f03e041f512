"""Posts the gate's report on its pull request, or updates the comment that is there.

    python -m stack_gate.comment --report FOLDER --commit SHA

Runs from the default branch with a token that may write, on a report that a pull request's own run made. So nothing in
the folder is believed: the pull request must be at the commit that the run was for, the text is only ever a comment's
body, and which of the gate's own files the pull request changes is asked of GitHub.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from stack_gate.errors import GateError
from stack_gate.github import GitHub
from stack_gate.markdown import MARK, MOST_CHARACTERS
from stack_gate.report import COULD_NOT_RUN, PASS

COMMENT, NUMBER = "comment.md", "number"
GATE_FILES = ("tools/stack_gate/", ".github/")
BOT = "github-actions[bot]"


def main(arguments: Sequence[str] | None = None) -> int:
    """Post or update; 0: done, 2: could not."""
    options = _parser().parse_args(arguments)
    try:
        github = GitHub(
            address=os.environ.get("GITHUB_API_URL", "https://api.github.com"),
            repository=_needed("GITHUB_REPOSITORY"),
            token=_needed("GITHUB_TOKEN"),
        )
        print(publish(options.report, options.commit, github))
    except GateError as error:
        print(f"stack gate: no comment: {error}", file=sys.stderr)
        return COULD_NOT_RUN
    return PASS


def publish(report: Path, commit: str, github: GitHub) -> str:
    """Put the report of a run for `commit` on its pull request; says what was done. GateError where it must not."""
    number = _number(report / NUMBER)
    if github.head_commit(number) != commit:
        raise GateError(f"pull request {number} must be at {commit}, the commit of the run, and is not")
    body = _body(report / COMMENT, github.changed_files(number))
    for comment in github.comments(number):
        if comment["user"]["login"] == BOT and str(comment["body"]).startswith(MARK):
            github.change_comment(comment["id"], body)
            return f"updated the comment on pull request {number}"
    github.add_comment(number, body)
    return f"commented on pull request {number}"


def _number(path: Path) -> int:
    text = path.read_text(encoding="utf-8").strip() if path.is_file() else ""
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise GateError(f"the report's {NUMBER} must be that of a pull request, got {text[:20]!r}")
    return int(text)


def _body(path: Path, changed: list[str]) -> str:
    if not path.is_file() or path.stat().st_size > 4 * MOST_CHARACTERS:
        raise GateError(f"the report's {COMMENT} must be a file of at most {MOST_CHARACTERS} characters")
    text = path.read_text(encoding="utf-8", errors="replace").removeprefix(MARK).strip()[:MOST_CHARACTERS]
    if any(name.startswith(GATE_FILES) for name in changed):
        warning = (
            "> **This pull request changes the gate or its workflows, which wrote what follows: review them first.**"
        )
        return f"{MARK}\n{warning}\n\n{text}\n"
    return f"{MARK}\n{text}\n"


def _needed(name: str) -> str:
    value = os.environ.get(name, "")
    if not value:
        raise GateError(f"{name} must be set in the environment")
    return value


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m stack_gate.comment", description=__doc__)
    parser.add_argument("--report", type=Path, required=True, help=f"a folder with {COMMENT} and {NUMBER}")
    parser.add_argument("--commit", required=True, help="the commit that the report's run was for")
    return parser


if __name__ == "__main__":
    sys.exit(main())
