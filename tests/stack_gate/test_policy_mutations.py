"""Every statement of every policy in the real stack, widened in each of its parts, and every refusal loosened."""

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from stack_gate.comparison import Comparison
from stack_gate.template import Json, Stack, as_list, is_list, is_object
from tests.stack_gate.mutants.stacks import Draft

Judge = Callable[[Sequence[tuple[Stack, Stack]]], list[Comparison]]
Statement = dict[str, Any]
Edit = Callable[[Statement], Statement | None]


@dataclass(frozen=True)
class Case:
    """One edit of one statement: `place` is the resource, the document's path in it, and the statement's index."""

    name: str
    place: tuple[str, tuple[str | int, ...], int]
    edit: Edit


def documents(stack: Stack) -> Iterator[tuple[str, tuple[str | int, ...]]]:
    """Logical id and path of every policy document."""
    for logical_id, resource in stack.resources.items():
        for path in _documents_in(resource.get("Properties", {}), ()):
            yield logical_id, path


def _documents_in(node: Json, path: tuple[str | int, ...]) -> Iterator[tuple[str | int, ...]]:
    if is_object(node):
        if "Statement" in node:
            yield path
        for key, value in node.items():
            yield from _documents_in(value, (*path, key))
    if is_list(node):
        for index, value in enumerate(node):
            yield from _documents_in(value, (*path, index))


def document_at(template: dict[str, Any], logical_id: str, path: tuple[str | int, ...]) -> dict[str, Any]:
    """The document at a place."""
    node: Any = template["Resources"][logical_id]["Properties"]
    for step in path:
        node = node[step]
    return node


def with_(**parts: Any) -> Edit:
    """Replace parts of a statement."""
    return lambda statement: {**statement, **parts}


def without(*names: str) -> Callable[[Statement], Statement]:
    """Take parts of a statement away."""
    return lambda statement: {key: value for key, value in statement.items() if key not in names}


def widenings(statement: Statement) -> dict[str, Edit]:
    """Edits of an allowing statement that allow more."""
    edits: dict[str, Edit] = {}
    if as_list(statement["Action"]) != ["*"]:
        edits["all actions"] = with_(Action="*")
        edits["one more action"] = with_(Action=[*as_list(statement["Action"]), "iam:PassRole"])
        service = as_list(statement["Action"])[0].split(":")[0]
        edits["all of the service"] = with_(Action=f"{service}:*")
        edits["all actions but one"] = lambda item: {**without("Action")(item), "NotAction": "iam:*"}
    if "Resource" in statement and as_list(statement["Resource"]) != ["*"]:
        if "Principal" not in statement:  # in a resource's own policy `*` is that resource
            edits["all resources"] = with_(Resource="*")
        edits["one more resource"] = with_(Resource=[*as_list(statement["Resource"]), "arn:aws:s3:::else/*"])
        edits["all resources but one"] = lambda item: {**without("Resource")(item), "NotResource": "arn:aws:s3:::x"}
    if "Condition" in statement:
        edits["no condition"] = without("Condition")
        edits["another condition"] = with_(Condition={"StringLike": {"aws:PrincipalTag/any": "*"}})
    if "Principal" in statement:
        edits["everybody"] = with_(Principal="*")
        edits["another account"] = with_(Principal={"AWS": "arn:aws:iam::999988887777:root"})
    return edits


def loosenings(statement: Statement) -> dict[str, Edit]:
    """Edits of a refusing statement that refuse less."""
    return {
        "no refusal": lambda _: None,
        "an allowance instead": with_(Effect="Allow"),
        "reading alone": with_(Action="s3:GetObject" if "s3:*" in as_list(statement["Action"]) else "sns:GetTopic*"),
        "one caller alone": with_(Principal={"AWS": "arn:aws:iam::123456789012:root"}),
        "everybody but one": lambda item: {
            **without("Principal")(item),
            "NotPrincipal": {"AWS": "arn:aws:iam::123456789012:root"},
        },
        "one more condition": with_(
            Condition={**statement["Condition"], "StringEquals": {"aws:PrincipalTag/any": "thing"}}
        ),
        "another value": with_(Condition={"Bool": {"aws:SecureTransport": "true"}}),
    }


def narrowings(statement: Statement) -> dict[str, Edit]:
    """Edits of an allowing statement that allow less."""
    return {
        "not at all": lambda _: None,
        "one more condition": with_(
            Condition={**statement.get("Condition", {}), "StringNotEquals": {"aws:PrincipalTag/any": "thing"}}
        ),
        "the first action alone": with_(Action=as_list(statement["Action"])[0]),
    }


def cases(base: Stack, wanted: str, edits: Callable[[Statement], dict[str, Edit]]) -> list[Case]:
    """Every edit of every statement of the wanted effect."""
    return [
        Case(f"{base.display(logical_id)} {index}: {name}", (logical_id, path, index), edit)
        for logical_id, path in documents(base)
        for index, statement in enumerate(document_at(base.template, logical_id, path)["Statement"])
        if statement["Effect"] == wanted
        for name, edit in edits(statement).items()
    ]


def edited(base: Stack, case: Case) -> Stack:
    """The stack with one statement edited."""
    draft = Draft(base)
    logical_id, path, index = case.place
    statements = document_at(draft.template, logical_id, path)["Statement"]
    changed = case.edit(copy.deepcopy(statements[index]))
    statements[index : index + 1] = [] if changed is None else [changed]
    return draft.stack()


def judged_cases(base: Stack, listed: list[Case], judge: Judge) -> dict[str, set[str]]:
    """Classes of findings by case."""
    verdicts = judge([(base, edited(base, case)) for case in listed])
    return {
        case.name: {finding.class_name for finding in verdict.findings}
        for case, verdict in zip(listed, verdicts, strict=True)
    }


def test_statement_that_allows_more_needs_the_label(base: Stack, judged: Judge) -> None:
    listed = cases(base, "Allow", widenings)

    passed = [name for name, classes in judged_cases(base, listed, judged).items() if "broaden" not in classes]

    assert len(listed) > 150
    assert passed == []


def test_refusal_that_refuses_less_needs_the_label(base: Stack, judged: Judge) -> None:
    listed = cases(base, "Deny", loosenings)

    passed = [name for name, classes in judged_cases(base, listed, judged).items() if "broaden" not in classes]

    assert len(listed) > 30
    assert passed == []


def test_statement_that_allows_less_needs_no_label(base: Stack, judged: Judge) -> None:
    listed = cases(base, "Allow", narrowings)

    refused = {name: classes for name, classes in judged_cases(base, listed, judged).items() if classes}

    assert len(listed) > 60
    assert refused == {}


def test_reading_the_same_document_twice_finds_nothing(base: Stack, prod: Stack, judged: Judge) -> None:
    assert [verdict.findings for verdict in judged([(base, base), (prod, prod)])] == [[], []]


@pytest.mark.parametrize("kept", ["s3:PutObject", "sagemaker:InvokeEndpointAsync"])
def test_counterexample_names_who_may_do_what_on_what(kept: str, base: Stack, judged: Judge) -> None:
    draft = Draft(base)
    statement = next(item for item in draft.statements("ClientAccess/Policy") if item["Action"] == kept)
    statement["Action"] = kept.split(":")[0] + ":*"

    (finding,) = judged([(base, draft.stack())])[0].findings

    assert finding.example.startswith("whoever holds ClientAccess/Policy: ")
    assert kept not in finding.example
