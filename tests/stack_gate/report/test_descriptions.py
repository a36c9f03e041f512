"""How findings and the comment name what changed."""

import pytest

from stack_gate.diff.properties import ValueChange, changed_values
from stack_gate.report.report import Comparison, Report
from stack_gate.rules.cost import Cost
from stack_gate.template import Json, Resolver, Stack
from tests.stack_gate.mutants.registry import CLIENT, OUT
from tests.stack_gate.mutants.stacks import Compare, Draft

READ = {"Effect": "Allow", "Action": "s3:GetObject", "Resource": {"Fn::GetAtt": ["B", "Arn"]}}
PUBLISH = {"Effect": "Allow", "Action": "sns:Publish", "Resource": {"Ref": "T"}}
DENY = {"Effect": "Deny", "Action": "s3:*", "Resource": "*", "Principal": "*"}


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ({"Days": {"Expiry": 30, "Other": 1}}, {"Days": {"Expiry": 1, "Other": 1}}, "Days.Expiry: 30 → 1"),
        (
            {"Rules": [{"Id": "a", "Days": 30}, {"Id": "b", "Days": 30}]},
            {"Rules": [{"Id": "a", "Days": 1}, {"Id": "b", "Days": 1}]},
            "Rules.{a, b}.Days: 30 → 1",
        ),
        ({"Url": {"Fn::Join": ["", ["s3://", {"Ref": "B"}, "/x"]]}}, {"Url": "y"}, "Url: s3://<B>/x → y"),
        ({"Key": f"{'ab' * 32}.zip"}, {"Key": f"{'cd' * 32}.zip"}, "Key: abababab….zip → cdcdcdcd….zip"),
        ({"Url": {"Fn::Sub": "${A.Arn}/${!x}"}}, {"Url": "y"}, "Url: <A.Arn>/${!x} → y"),
    ],
)
def test_the_innermost_values_are_named(old: Json, new: Json, expected: str) -> None:
    assert ValueChange((), old, new).describe() == expected


def test_statements_are_matched_by_content() -> None:
    """The first one goes: by position, all that follow would seem to change."""
    assert changed_values([DENY, READ, PUBLISH], [READ, PUBLISH]) == ["the resource: removes Deny s3:* on * for *"]
    assert changed_values([READ, PUBLISH], [PUBLISH, READ]) == []
    wider = {**READ, "Action": ["s3:GetObject", "s3:PutObject"]}
    assert changed_values([PUBLISH, READ], [wider, PUBLISH]) == [
        '0.Action: s3:GetObject → ["s3:GetObject", "s3:PutObject"]'
    ]
    assert changed_values([READ], [READ, PUBLISH]) == ["the resource: adds Allow sns:Publish on <T>"]


def test_thousands_of_statements_are_compared_by_position() -> None:
    many = [{**READ, "Action": f"s3:Get{number}"} for number in range(2000)]

    assert changed_values(many, [*many[:-1], PUBLISH])[0].startswith("1999.Action: s3:Get1999 → ")


def test_a_dropped_condition_is_shown(base: Stack, compare_stacks: Compare) -> None:
    draft = Draft(base)
    listing = next(item for item in draft.statements(CLIENT) if item["Action"] == "s3:ListBucket")
    del listing["Condition"]

    (finding,) = compare_stacks([(base, draft.stack())])[0].findings

    assert "always; the base allows it only when s3:prefix StringLike audio/* or failures/* or out/*" in finding.what


def test_expiry_and_images_are_shown_by_path(base: Stack, compare_stacks: Compare) -> None:
    draft = Draft(base)
    for rule in draft.properties(OUT)["LifecycleConfiguration"]["Rules"]:
        if "ExpirationInDays" in rule:
            rule["ExpirationInDays"] = 1
    draft.properties("AsyncEndpoint/Model")["PrimaryContainer"]["Image"] += "-v2"

    (comparison,) = compare_stacks([(base, draft.stack())])

    (retention,) = comparison.findings
    assert ".ExpirationInDays: 30 → 1" in retention.what
    assert len(comparison.images) == 1 and comparison.images[0].startswith("AsyncEndpoint/Model: ")


def test_replacements_and_images_are_on_top_of_a_report_that_passes() -> None:
    cost = Cost(idle=0, peak=1)
    comparison = Comparison(
        name="S", findings=[], impacts={"WILL_REPLACE": ["Model"]}, images=["Model: a → b"], before=cost, after=cost
    )
    lines = (
        Report(base="a", head="b", allowed=frozenset(), environments={"dev": [comparison]}).as_markdown().splitlines()
    )

    assert lines[1] == "## Stack gate: pass"
    table = next(index for index, line in enumerate(lines) if line.startswith("| environment"))
    assert lines.index("- **replaced**: Model (dev)") < lines.index("- **another image**: Model: a → b (dev)") < table
    assert "No rule found lost data" in lines[3]


def test_a_secret_by_reference_is_its_arn() -> None:
    """It has no format in arns.toml: its ARN ends in characters that AWS chooses."""
    stack = Stack(name="S", template={"Resources": {"Token": {"Type": "AWS::SecretsManager::Secret"}}})

    assert Resolver(stack).text({"Ref": "Token"}) == Resolver(stack).arn("Token")
    assert Resolver(stack, by_name=True).text({"Ref": "Token"})
