"""Find out which findings a pull request's labels cover, from the host's own record of who added them and when.

    python -m stack_gate.boundary.label_approvals --pull-request NUMBER --output FILE

A label carries no text, so it stands for what the gate's comment showed when a person added it. The comment ends with a
line that records the digest of each class and, once a run has seen a label, which digest that label covers. A push that
changes the findings changes their digest; the label, still there, then covers nothing until it is added again.
"""

import argparse
import json
import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from stack_gate import GateError
from stack_gate.boundary.approvals import DIGEST, Label, parse_labels
from stack_gate.boundary.gitlab import host_from_environment
from stack_gate.boundary.rest import Host
from stack_gate.findings import CLASSES, label
from stack_gate.template import as_object

MARK = "<!-- stack-gate -->"  # identifies the gate's comment, so that the next run updates it
_RECORD = re.compile(r"<!-- stack-gate-record (\{.*\}) -->")


@dataclass(frozen=True, kw_only=True)
class Record:
    """What the gate's comment shows: the digest of each class, and the labels whose approvals are settled."""

    digests: Mapping[str, str]
    labels: Mapping[str, Label]

    def line(self) -> str:
        """Return the record as the comment's last line, which is not displayed."""
        labels = {name: asdict(given) for name, given in self.labels.items()}
        record = json.dumps({"digests": dict(self.digests), "labels": labels}, sort_keys=True)
        return f"<!-- stack-gate-record {record} -->"


def parse_record(body: str) -> Record:
    """Return the record in a comment's last line; an empty one if there is none."""
    found = _RECORD.fullmatch((body.strip().splitlines() or [""])[-1].strip())
    if found is None:
        return Record(digests={}, labels={})
    try:
        raw = as_object(json.loads(found.group(1)))
        digests = {str(name): str(digest) for name, digest in as_object(raw.get("digests")).items()}
        if not all(name in CLASSES and DIGEST.fullmatch(digest) for name, digest in digests.items()):
            raise ValueError(f"expected digests by class, got {digests!r:.200}")
        return Record(digests=digests, labels=parse_labels(raw.get("labels")))
    except ValueError as error:
        raise GateError(f"the record in the gate's comment could not be read: {error}") from error


def gate_comment(host: Host, pull_request: int) -> dict[str, Any] | None:
    """Return the gate's comment on a pull request."""
    for comment in host.comments(pull_request):
        if comment["user"]["login"] == host.bot and str(comment["body"]).startswith(MARK):
            return comment
    return None


def find_label_approvals(host: Host, pull_request: int) -> dict[str, Label]:
    """Return what the labels that are on a pull request now cover, by class.

    A label that a program added counts for nothing, nor one that was added while the comment changed.
    """
    present = host.labels(pull_request)
    wanted = {label(name): name for name in CLASSES if label(name) in present}
    if not wanted:
        return {}
    comment = gate_comment(host, pull_request)
    if comment is None:
        return {}
    record = parse_record(str(comment["body"]))
    newest: dict[str, dict[str, Any]] = {}
    for event in host.events(pull_request):
        name = wanted.get(str(as_object(event.get("label")).get("name"))) if event.get("event") == "labeled" else None
        if name is not None and (name not in newest or event["id"] > newest[name]["id"]):
            newest[name] = event
    found: dict[str, Label] = {}
    for name, event in newest.items():
        settled = record.labels.get(name)
        by_person = as_object(event.get("actor")).get("type") == "User" and not event.get("performed_via_github_app")
        if settled is not None and settled.event == event["id"]:
            found[name] = settled
        elif by_person and name in record.digests and str(comment["updated_at"]) < str(event["created_at"]):
            found[name] = Label(digest=record.digests[name], event=int(event["id"]))
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the approvals. Exit status 0: done; 2: could not."""
    parser = argparse.ArgumentParser(prog="python -m stack_gate.boundary.label_approvals", description=__doc__)
    parser.add_argument("--pull-request", type=int, required=True, help="its number")
    parser.add_argument("--output", type=Path, required=True, help="file for `python -m stack_gate --approvals`")
    options = parser.parse_args(arguments)
    try:
        found = find_label_approvals(host_from_environment(os.environ), options.pull_request)
    except GateError as error:
        print(f"stack gate: no approvals: {error}", file=sys.stderr)
        return 2
    text = json.dumps({name: asdict(given) for name, given in found.items()}, indent=2) + "\n"
    options.output.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
