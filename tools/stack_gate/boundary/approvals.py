"""What lets findings pass: an approval covers the findings that were seen, not whatever comes later.

A finding's digest covers its text and both versions of what it is about, a class's digest those of its findings. A
label covers the digest that the gate's comment showed when the label was added (see label_approvals.py). An acceptance
names the digests of single findings, in a file that is read from the base: a change cannot accept itself.
"""

import json
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from stack_gate import GateError
from stack_gate.boundary.files import ACCEPTANCES
from stack_gate.findings import CLASSES, Finding, digest_of
from stack_gate.template import as_object, is_list, is_object

DIGEST = re.compile(r"[0-9a-f]{16}")
MAX_BYTES = 1 << 18
_FIELDS = {"class", "findings", "reason", "author", "expires"}


@dataclass(frozen=True, kw_only=True)
class Label:
    """A label's approval: the class digest that it covers, and the event that added it."""

    digest: str
    event: int


@dataclass(frozen=True, kw_only=True)
class Acceptance:
    """Findings of one class that are accepted until a day."""

    class_name: str
    findings: frozenset[str]
    reason: str
    author: str
    expires: date


@dataclass(frozen=True, kw_only=True)
class Approvals:
    """Everything that lets findings pass. `classes` pass whatever their findings, for runs by hand."""

    classes: frozenset[str] = frozenset()
    labels: Mapping[str, Label] | None = None
    acceptances: tuple[Acceptance, ...] = ()
    today: date = date.max

    def covered(self, findings: Iterable[Finding]) -> frozenset[str]:
        """Return the classes all of whose findings are approved."""
        by_class: dict[str, list[Finding]] = {}
        for finding in findings:
            by_class.setdefault(finding.class_name, []).append(finding)
        return frozenset(name for name, listed in by_class.items() if self._covers(name, listed))

    def _covers(self, name: str, findings: list[Finding]) -> bool:
        label = (self.labels or {}).get(name)
        if name in self.classes or (label is not None and label.digest == class_digest(findings)):
            return True
        accepted = {
            digest
            for acceptance in self.acceptances
            if acceptance.class_name == name and self.today <= acceptance.expires
            for digest in acceptance.findings
        }
        return all(finding.digest in accepted for finding in findings)


def class_digest(findings: Iterable[Finding]) -> str:
    """Return the digest of a class's findings, whatever their order."""
    return digest_of("class", *sorted({finding.digest for finding in findings}))


def class_digests(findings: Iterable[Finding]) -> dict[str, str]:
    """Return the digest of every class that has findings."""
    listed = list(findings)
    return {
        name: class_digest(finding for finding in listed if finding.class_name == name)
        for name in CLASSES
        if any(finding.class_name == name for finding in listed)
    }


def read_acceptances(content: bytes | None) -> tuple[Acceptance, ...]:
    """Return the acceptances of a file, () if there is none. Raise GateError if it is malformed."""
    if content is None:
        return ()
    try:
        if len(content) > MAX_BYTES:
            raise ValueError(f"more than {MAX_BYTES} bytes")
        table: dict[str, Any] = tomllib.loads(content.decode())
        if set(table) - {"acceptance"} or not is_list(table.get("acceptance", [])):
            raise ValueError(f"its only key must be a list of [[acceptance]], got {', '.join(table)}")
        return tuple(_acceptance(row) for row in table.get("acceptance", []))
    except (ValueError, RecursionError) as error:
        raise GateError(f"{ACCEPTANCES} could not be read: {error}") from error


def _acceptance(row: Any) -> Acceptance:
    if not is_object(row) or set(row) != _FIELDS:
        raise ValueError(f"an acceptance must have exactly {', '.join(sorted(_FIELDS))}, got {row!r:.200}")
    digests, expires = row["findings"], row["expires"]
    if row["class"] not in CLASSES:
        raise ValueError(f"class must be one of {', '.join(CLASSES)}, got {row['class']!r:.80}")
    if (
        not is_list(digests)
        or not digests
        or not all(isinstance(one, str) and DIGEST.fullmatch(one) for one in digests)
    ):
        raise ValueError(f"findings must be a list of digests of 16 hexadecimal digits, got {digests!r:.80}")
    if type(expires) is not date:
        raise ValueError(f"expires must be a date such as 2027-01-31, got {expires!r:.80}")
    for name in ("reason", "author"):
        if not isinstance(row[name], str) or not row[name].strip():
            raise ValueError(f"{name} must say something, got {row[name]!r:.80}")
    return Acceptance(
        class_name=row["class"],
        findings=frozenset(map(str, digests)),
        reason=row["reason"],
        author=row["author"],
        expires=expires,
    )


def read_labels(file: Path) -> dict[str, Label]:
    """Return the labels' approvals that label_approvals.py wrote. Raise GateError if the file is malformed."""
    try:
        return parse_labels(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise GateError(f"the approvals in {file} could not be read: {error}") from error


def parse_labels(value: object) -> dict[str, Label]:
    """Return {class: label} from JSON of the form {class: {"digest": ..., "event": ...}}. Raise ValueError."""
    found: dict[str, Label] = {}
    for name, row in as_object(value).items():
        digest, event = as_object(row).get("digest"), as_object(row).get("event")
        if name not in CLASSES or not DIGEST.fullmatch(str(digest)) or not isinstance(event, int):
            raise ValueError(f"expected a class with a digest and an event, got {name!r:.40}: {row!r:.80}")
        found[name] = Label(digest=str(digest), event=event)
    return found
