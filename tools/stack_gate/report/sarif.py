"""The report as SARIF 2.1.0, which code scanning reads (OASIS, https://docs.oasis-open.org/sarif/sarif/v2.1.0/).

A rule is a class with its label. A finding's level is "error" until it is approved, then "note" with a suppression.
"""

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

from stack_gate.findings import CLASSES, Finding, label
from stack_gate.report.report import NOT_ISOLATED, Report

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
APP = "cdk.json"  # where a finding about a stack is shown: a template does not say which line made a resource
MAX_RESULTS = 5_000  # GitHub shows no more
_RULES = list(CLASSES)


def as_sarif(report: Report) -> dict[str, Any]:
    """Return the report as a SARIF log of one run. Results beyond MAX_RESULTS are counted in a notification."""
    results = list(_results(report))
    notes = [*([] if report.isolated else [NOT_ISOLATED]), *report.notes]
    if len(results) > MAX_RESULTS:
        notes.append(f"{len(results) - MAX_RESULTS} more findings are only in the JSON report.")
    run: dict[str, Any] = {
        "tool": {"driver": {"name": "stack-gate", "rules": [_rule(name) for name in _RULES]}},
        "automationDetails": {"id": "stack-gate/"},
        "columnKind": "unicodeCodePoints",
        "invocations": [
            {
                "executionSuccessful": True,
                "exitCode": report.exit_code,
                "toolExecutionNotifications": [
                    {"level": "warning", "message": {"text": _message(note)}} for note in notes
                ],
            }
        ],
        "results": results[:MAX_RESULTS],
        "properties": {"base": report.base, "head": report.head},
    }
    return {"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}


def _rule(name: str) -> dict[str, Any]:
    covers = f"{CLASSES[name][0].upper()}{CLASSES[name][1:]}."
    return {
        "id": label(name),
        "shortDescription": {"text": covers},
        "fullDescription": {"text": f"{covers} The label {label(name)} approves it."},
        "help": {"text": f"Review the change, then add the label {label(name)}. See docs/gate.md."},
        "defaultConfiguration": {"level": "error"},
    }


def _results(report: Report) -> Iterator[dict[str, Any]]:
    for finding in report.gate_findings:
        yield _result(report, finding, file=APP if finding.what == "removed" else finding.resource)
    for environment, listed in report.environments.items():
        for comparison in listed:
            for finding in comparison.findings:
                yield _result(report, finding, file=APP, owner=f"{environment}/{comparison.name}")


def _result(report: Report, finding: Finding, *, file: str, owner: str = "") -> dict[str, Any]:
    """Return a finding as a result at the start of a file; `owner` is the environment and stack of its resource."""
    approved = finding.class_name in report.allowed
    where = "/".join(filter(None, (owner, finding.resource)))
    text = f"{where}: {finding.what}: {finding.why}." if where else f"{finding.what}: {finding.why}."
    if finding.example:
        text += f" Newly possible: {finding.example}."
    location: dict[str, Any] = {
        "physicalLocation": {
            "artifactLocation": {"uri": quote(file, errors="replace"), "uriBaseId": "%SRCROOT%"},
            "region": {"startLine": 1},
        }
    }
    if owner:
        location["logicalLocations"] = [{"fullyQualifiedName": where, "kind": "resource"}]
    result: dict[str, Any] = {
        "ruleId": label(finding.class_name),
        "ruleIndex": _RULES.index(finding.class_name),
        "level": "note" if approved else "error",
        "message": {"text": _message(text)},
        "locations": [location],
        # GitHub matches alerts by the first of these alone; the digest changes with what the finding is about.
        "partialFingerprints": {"primaryLocationLineHash": f"{finding.digest}:1", "stackGate/v1": finding.digest},
    }
    if approved:
        result["suppressions"] = [{"kind": "external", "status": "accepted"}]
    return result


def _message(text: str) -> str:
    """Return a text without the syntax of SARIF's links and placeholders (3.11.5 and 3.11.6)."""
    for character in "\\[]":
        text = text.replace(character, f"\\{character}")
    return text.replace("{", "{{").replace("}", "}}").encode(errors="replace").decode()
