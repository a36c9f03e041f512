"""The SARIF report: what the standard and GitHub require of it, and what it says of each finding."""

import json
from typing import Any

import jsonschema
import pytest

from stack_gate.findings import CLASSES, Finding
from stack_gate.report.report import Comparison, Report
from stack_gate.report.sarif import MAX_RESULTS, as_sarif


def closed(required: tuple[str, ...], **properties: Any) -> dict[str, Any]:
    """Return the schema of an object with these properties, which the standard's schema names, and no others."""
    return {"type": "object", "required": list(required), "properties": properties, "additionalProperties": False}


def array(of: dict[str, Any], least: int = 0) -> dict[str, Any]:
    return {"type": "array", "items": of, "minItems": least}


# What sarif-schema-2.1.0.json says of the objects that the gate writes.
TEXT: dict[str, Any] = {"type": "string", "minLength": 1}
MESSAGE = closed(("text",), text=TEXT)
LEVEL: dict[str, Any] = {"enum": ["none", "note", "warning", "error"]}
URI: dict[str, Any] = {"type": "string", "pattern": r"^[A-Za-z0-9._~/%-]+$"}  # a relative one, percent-encoded
RULE = closed(
    ("id",),
    id=TEXT,
    shortDescription=MESSAGE,
    fullDescription=closed(("text",), text={"type": "string", "maxLength": 1024}),
    help=MESSAGE,
    defaultConfiguration=closed((), level=LEVEL),
)
LOCATION = closed(
    ("physicalLocation",),  # GitHub shows no result without one
    physicalLocation=closed(
        ("artifactLocation", "region"),
        artifactLocation=closed(("uri",), uri=URI, uriBaseId=TEXT),
        region=closed(("startLine",), startLine={"type": "integer", "minimum": 1}),
    ),
    logicalLocations=array(closed((), fullyQualifiedName=TEXT, kind=TEXT), 1),
)
RESULT = closed(
    ("ruleId", "level", "message", "locations", "partialFingerprints"),
    ruleId=TEXT,
    ruleIndex={"type": "integer", "minimum": 0},
    level=LEVEL,
    message=MESSAGE,
    locations=array(LOCATION, 1),
    partialFingerprints={"type": "object", "additionalProperties": TEXT},
    suppressions=array(
        closed(("kind",), kind={"enum": ["inSource", "external"]}, status={"enum": ["accepted", "underReview"]})
    ),
)
RUN = closed(
    ("tool", "results"),
    tool=closed(("driver",), driver=closed(("name", "rules"), name=TEXT, rules=array(RULE, 1))),
    automationDetails=closed((), id=TEXT),
    columnKind={"enum": ["utf16CodeUnits", "unicodeCodePoints"]},
    invocations=array(
        closed(
            ("executionSuccessful",),
            executionSuccessful={"type": "boolean"},
            exitCode={"type": "integer"},
            toolExecutionNotifications=array(closed(("message",), level=LEVEL, message=MESSAGE)),
        )
    ),
    results=array(RESULT),
    properties={"type": "object"},
)
LOG = closed(("version", "runs"), **{"$schema": TEXT, "version": {"const": "2.1.0"}, "runs": array(RUN, 1)})

COSTS = Finding(class_name="money", resource="Scaling/Target", what="1 → 3", why="it costs more", digest="a" * 16)
MAKEFILE = Finding(class_name="gate", resource="Makefile", what="changed", why="deployments run it", digest="b" * 16)


def sarif(
    *findings: Finding, gate: tuple[Finding, ...] = (), allowed: frozenset[str] = frozenset(), **fields: Any
) -> dict[str, Any]:
    """Return the only run of a valid SARIF log, as a reader of its JSON sees it."""
    environments = {"dev": [Comparison(name="Stack", findings=list(findings))]}
    report = Report(base="main", head="new", allowed=allowed, environments=environments, gate_findings=gate, **fields)
    log = json.loads(json.dumps(as_sarif(report)))
    jsonschema.validate(log, LOG)
    return log["runs"][0]


def places(run: dict[str, Any]) -> list[str]:
    return [result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] for result in run["results"]]


def test_finding_is_an_error_of_its_class_until_it_is_approved() -> None:
    (held,), (passed,) = (sarif(COSTS, allowed=frozenset(given))["results"] for given in ((), ("money",)))

    assert (held["ruleId"], held["level"], "suppressions" in held) == ("gate:money", "error", False)
    assert (passed["level"], passed["suppressions"][0]["status"]) == ("note", "accepted")
    assert held["message"]["text"] == "dev/Stack/Scaling/Target: 1 → 3: it costs more."


def test_every_class_is_a_rule_and_results_point_at_theirs() -> None:
    run = sarif(*(Finding(class_name=name, resource="", what="x", why="y", digest=name) for name in CLASSES))
    rules = run["tool"]["driver"]["rules"]

    assert [rule["id"] for rule in rules] == [f"gate:{name}" for name in CLASSES]
    assert all(rules[result["ruleIndex"]]["id"] == result["ruleId"] for result in run["results"])


def test_fingerprint_is_the_digest_that_an_approval_covers() -> None:
    (result,) = sarif(COSTS)["results"]

    assert result["partialFingerprints"] == {"primaryLocationLineHash": f"{'a' * 16}:1", "stackGate/v1": "a" * 16}


def test_finding_about_a_file_is_at_that_file_if_the_head_has_it() -> None:
    gone = Finding(class_name="gate", resource="a b#.mk", what="removed", why="it ran", digest="c" * 16)
    odd = Finding(class_name="gate", resource="a b#\udcff.mk", what="added", why="it runs", digest="d" * 16)

    assert places(sarif(COSTS, gate=(MAKEFILE, gone, odd))) == ["Makefile", "cdk.json", "a%20b%23%3F.mk", "cdk.json"]


def test_text_of_templates_is_neither_link_nor_placeholder() -> None:
    text = Finding(
        class_name="money", resource="A", what=r"[x](http://b) {0} \ " + "\udcff", why="because", digest="e" * 16
    )

    assert sarif(text)["results"][0]["message"]["text"] == r"dev/Stack/A: \[x\](http://b) {{0}} \\ ?: because."


def test_what_was_not_compared_and_missing_isolation_are_notifications() -> None:
    (invocation,) = sarif(COSTS, notes=("checkov was not compared.",), isolated=False)["invocations"]
    isolation, note = (found["message"]["text"] for found in invocation["toolExecutionNotifications"])

    assert "without isolation" in isolation
    assert note == "checkov was not compared."
    assert (invocation["exitCode"], invocation["executionSuccessful"]) == (1, True)


def test_results_that_github_would_not_show_are_counted() -> None:
    run = sarif(*[COSTS] * (MAX_RESULTS + 3))

    assert len(run["results"]) == MAX_RESULTS
    assert run["invocations"][0]["toolExecutionNotifications"][0]["message"]["text"].startswith("3 more findings")


@pytest.mark.parametrize("missing", ["version", "runs"])
def test_log_without_a_required_part_is_invalid(missing: str) -> None:
    log = as_sarif(Report(base="main", head="new", allowed=frozenset(), environments={}))
    del log[missing]

    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(log, LOG)
