"""Linters and the planner on both sides, in processes of their own."""

import time
from dataclasses import replace
from pathlib import Path

import pytest

from stack_gate import GateError
from stack_gate.checks import children, lint, outcomes
from stack_gate.checks.children import Child, answers
from stack_gate.checks.forecast import Forecast, describe_change
from stack_gate.diff.stacks import Pair
from stack_gate.template import Json, Stack
from tests.stack_gate.mutants.registry import CLIENT
from tests.stack_gate.mutants.stacks import ROOT, Compare, Draft

CONFIGURATION = {name: (ROOT / name).read_text(encoding="utf-8") for name in (".cfnlintrc.yaml", ".checkov.yaml")}


def test_new_failures_are_found_and_old_ones_are_not(base: Stack, cache_with_packages: Path) -> None:
    """The real stack with a bucket that logs nothing, as every bucket of the base, and a wrong property."""
    draft = Draft(base)
    draft.add("Extra", "AWS::S3::Bucket")
    draft.add("Wrong", "AWS::SQS::Queue", Nope=1)
    draft.properties("ScaleToZero/Target")["MaxCapacity"] = 3

    (outcome,), notes = outcomes.run_checks([Pair(base=base, head=draft.stack())], CONFIGURATION, cache_with_packages)

    found = {(finding.class_name, finding.resource, finding.what.split(":")[0]) for finding in outcome.findings}
    assert ("lint", "Wrong", "cfn-lint E3002") in found
    assert ("lint", "Extra", "cdk-nag AwsSolutions-S1") in found
    assert {resource for _, resource, _ in found} == {"Extra", "Wrong"}
    assert outcome.before is not None and outcome.after is not None
    assert outcome.before.error == outcome.after.error == ""
    assert outcome.before.usd_per_month > 0 and outcome.before.p95 is not None
    if not (ROOT / lint.CHECKOV_FOLDER).exists():
        assert notes == ["checkov was not compared: .venv-checkov is missing, which `make lint` makes."]


def test_suppressions_in_metadata_hide_nothing_and_are_findings(base: Stack, compare_stacks: Compare) -> None:
    draft = Draft(base)
    draft.resource(CLIENT)["Metadata"]["cdk_nag"] = {"rules_to_suppress": [{"id": "AwsSolutions-IAM5", "reason": "x"}]}
    draft.template["Metadata"] = {"cfn-lint": {"config": {"ignore_checks": ["E3002"]}}}
    head = draft.stack()
    acknowledged = replace(base, acknowledged={**base.acknowledged, "Storage": {"AwsSolutions-S1": "because"}})

    in_metadata, in_cdk, fewer = compare_stacks([(base, head), (base, acknowledged), (head, base)])

    assert [(finding.class_name, finding.resource) for finding in in_metadata.findings] == [
        ("lint", ""),
        ("lint", CLIENT),
    ]
    assert [finding.what for finding in in_cdk.findings] == ["acknowledges AwsSolutions-S1: because"]
    assert fewer.findings == []
    assert "Metadata" not in lint.without_metadata(head.template)


def test_acknowledged_rules_are_read_from_the_assembly(base: Stack) -> None:
    assert any("AwsSolutions-IAM5" in rule for rules in base.acknowledged.values() for rule in rules)


def child(monkeypatch: pytest.MonkeyPatch, folder: Path, code: str) -> Child:
    """Return a child that runs this code."""
    (folder / "scripts").mkdir()
    (folder / "scripts/run.py").write_text(f"import sys, json\nfrom pathlib import Path\n{code}\n", encoding="utf-8")
    monkeypatch.setattr(children, "_SCRIPTS", folder / "scripts")
    return Child(script="run.py")


def test_answers_are_cached(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    one = child(monkeypatch, tmp_path, "(Path(sys.argv[1]) / '0.json').write_text(Path('0.template.json').read_text())")

    assert answers(one, ['"a"'], tmp_path / "cache") == ["a"]
    (tmp_path / "scripts/run.py").touch()

    def run_again(*_: object) -> None:
        pytest.fail("it ran again")

    monkeypatch.setattr(children, "_run", run_again)
    assert answers(one, ['"a"'], tmp_path / "cache") == ["a"]


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("sys.exit('no')", "it failed: no"),
        ("", "its answer must be a file"),
        ("while True: pass", "did not finish within 2 s"),
        ("import socket; socket.create_connection(('127.0.0.1', 22), 2)", "it failed"),
        ("Path('/etc/hostname').read_text()", "it failed"),
    ],
)
def test_a_child_that_fails_or_reaches_out_is_an_error(
    code: str, message: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(children, "TIMEOUT_SECONDS", 2)

    with pytest.raises(GateError, match=message):
        answers(child(monkeypatch, tmp_path, code), ["{}"], tmp_path / "cache")


@pytest.mark.parametrize(("broken", "findings", "notes"), [("head", 1, 0), ("base", 0, 1)])
def test_a_template_that_a_linter_cannot_read_is_reported(
    broken: str, findings: int, notes: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    code = f"""
text = Path('0.template.json').read_text()
if {broken!r} in text: sys.exit('cannot read')
(Path(sys.argv[1]) / '0.json').write_text('[]')
"""
    linter = lint.Linter(name="some-lint", child=child(monkeypatch, tmp_path, code), missing="")

    def only_this(_: object) -> list[lint.Linter]:
        return [linter]

    monkeypatch.setattr(outcomes, "linters", only_this)
    sides: list[dict[str, Json]] = [{"Description": "base"}, {"Description": "head"}]
    pair = Pair(base=Stack(name="S", template=sides[0]), head=Stack(name="S", template=sides[1]))
    monkeypatch.setattr(outcomes, "planner", lambda: linter.child)

    (outcome,), noted = outcomes.run_checks([pair], {}, tmp_path / "cache")

    assert (len(outcome.findings), len(noted)) == (findings, notes)


def test_a_renamed_resource_fails_nothing_newly() -> None:
    def stack(logical_id: str) -> Stack:
        entry = {"Type": "AWS::S3::Bucket", "Metadata": {"aws:cdk:path": "S/Bucket/Resource"}}
        return Stack(name="S", template={"Resources": {logical_id: entry}})

    def rows(logical_id: str) -> Json:
        return [{"rule": f"IAM5[<{logical_id}.Arn>/*]", "resource": logical_id, "text": "x"}]

    pair = Pair(base=stack("Old"), head=stack("New"))

    assert list(lint.newly_failing("nag", pair, rows("Old"), rows("New"))) == []
    assert len(list(lint.newly_failing("nag", pair, [], rows("New")))) == 1


def test_forecasts_are_cells_of_a_table() -> None:
    known = Forecast(usd_per_month=700.4, p50=60, p95=541)

    assert describe_change(known, known) == ("$700, unchanged", "541 s, unchanged")
    assert describe_change(known, Forecast(usd_per_month=1400, p95=700, unanswered=3)) == (
        "**$700 → $1,400**",
        "**541 s → 12 min, 3 a day never**",
    )
    assert describe_change(known, Forecast(error="no endpoint")) == ("**$700 → not known**", "**541 s → not known**")
    assert describe_change(None, known) == ("**none → $700**", "**none → 541 s**")


def stack_with_code(key: str, keys: list[str], name: str = "x") -> Stack:
    code = {"S3Bucket": "assets", "S3Key": key}
    function = {"Type": "AWS::Lambda::Function", "Properties": {"Code": code, "Handler": name}}
    return Stack(name="S", template={"Resources": {"F": function}}, asset_keys=keys)


def test_other_code_alone_is_checked_by_no_linter(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Only the object key of the stack's own asset differs: every answer about the base holds for the head."""
    old, new = (f"{digit * 64}.zip" for digit in "ab")
    asked: list[list[str]] = []

    def record(_: Child, templates: list[str], cache: Path) -> list[Json]:
        asked.append(templates)
        return [[] for _ in templates]

    monkeypatch.setattr(outcomes, "answers", record)
    pair = Pair(base=stack_with_code(old, [old]), head=stack_with_code(new, [new]))
    outcomes.run_checks([pair], CONFIGURATION, tmp_path)
    assert not any(asked)

    head = stack_with_code(new, [new], name="y")
    outcomes.run_checks([Pair(base=pair.base, head=head)], CONFIGURATION, tmp_path)
    assert any(asked)


@pytest.mark.parametrize("key", ["b" * 64, f"{'b' * 63}.zip", f"{'b' * 64}.zip.sh!", "name.zip"])
def test_linters_see_every_text_that_is_no_key_of_an_asset(key: str) -> None:
    stack = stack_with_code(key, [key, f"{'c' * 64}.zip"])

    assert key in outcomes.without_metadata_of(stack)


def test_linters_see_a_hash_that_the_manifest_does_not_list() -> None:
    key = f"{'b' * 64}.zip"

    assert key in outcomes.without_metadata_of(stack_with_code(key, []))
    assert key not in outcomes.without_metadata_of(stack_with_code(key, [key]))


def test_two_sides_of_one_check_never_run_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Two of cdk-nag together would take more than the gate's memory."""
    running: list[str] = []

    def record(child: Child, templates: list[str], cache: Path) -> list[Json]:
        assert child.script not in running
        running.append(child.script)
        time.sleep(0.05)
        running.remove(child.script)
        return [[] for _ in templates]

    monkeypatch.setattr(outcomes, "answers", record)
    pair = Pair(base=stack_with_code("a", []), head=stack_with_code("b", []))
    _, notes = outcomes.run_checks([pair], CONFIGURATION, tmp_path)
    assert not any("cannot" in note for note in notes)
