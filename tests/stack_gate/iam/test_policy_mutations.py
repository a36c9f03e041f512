"""Every statement of every policy in the real stack, widened in each of its parts, and every denial loosened."""

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from stack_gate.template import Json, Stack, as_list, is_list, is_object
from tests.stack_gate.mutants.stacks import Compare, Draft

Statement = dict[str, Any]
Edit = Callable[[Statement], Statement | None]


@dataclass(frozen=True)
class Case:
    """One edit of one statement. `place` is the resource, the path of the document in it and the statement's index."""

    name: str
    place: tuple[str, tuple[str | int, ...], int]
    edit: Edit


def documents(stack: Stack) -> Iterator[tuple[str, tuple[str | int, ...]]]:
    """Yield logical id and path of every policy document."""
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
    """Return the policy document of a resource at a path."""
    node: Any = template["Resources"][logical_id]["Properties"]
    for step in path:
        node = node[step]
    return node


def with_(**parts: Any) -> Edit:
    """Return an edit that replaces parts of a statement."""
    return lambda statement: {**statement, **parts}


def without(*names: str) -> Callable[[Statement], Statement]:
    """Return an edit that removes parts of a statement."""
    return lambda statement: {key: value for key, value in statement.items() if key not in names}


def widenings(statement: Statement) -> dict[str, Edit]:
    """Return edits of an Allow statement that allow more."""
    edits: dict[str, Edit] = {}
    if as_list(statement["Action"]) != ["*"]:
        edits["all actions"] = with_(Action="*")
        edits["one more action"] = with_(Action=[*as_list(statement["Action"]), "iam:PassRole"])
        service = as_list(statement["Action"])[0].split(":")[0]
        edits["all of the service"] = with_(Action=f"{service}:*")
        edits["all actions but one"] = lambda item: {**without("Action")(item), "NotAction": "iam:*"}
    if "Resource" in statement and as_list(statement["Resource"]) != ["*"]:
        if "Principal" not in statement:  # in a resource's policy `*` is that resource
            edits["all resources"] = with_(Resource="*")
        edits["one more resource"] = with_(Resource=[*as_list(statement["Resource"]), "arn:aws:s3:::else/*"])
        edits["all resources but one"] = lambda item: {**without("Resource")(item), "NotResource": "arn:aws:s3:::x"}
    if "Condition" in statement:
        edits["no condition"] = without("Condition")
        edits["another condition"] = with_(Condition={"StringLike": {"aws:PrincipalTag/any": "*"}})
    if "Principal" in statement:
        edits["everyone"] = with_(Principal="*")
        edits["another account"] = with_(Principal={"AWS": "arn:aws:iam::999988887777:root"})
    return edits


def loosenings(statement: Statement) -> dict[str, Edit]:
    """Return edits of a Deny statement that deny less."""
    return {
        "no denial": lambda _: None,
        "allowed instead": with_(Effect="Allow"),
        "only reading": with_(Action="s3:GetObject" if "s3:*" in as_list(statement["Action"]) else "sns:GetTopic*"),
        "only one caller": with_(Principal={"AWS": "arn:aws:iam::123456789012:root"}),
        "everyone but one": lambda item: {
            **without("Principal")(item),
            "NotPrincipal": {"AWS": "arn:aws:iam::123456789012:root"},
        },
        "one more condition": with_(
            Condition={**statement["Condition"], "StringEquals": {"aws:PrincipalTag/any": "thing"}}
        ),
        "another value": with_(Condition={"Bool": {"aws:SecureTransport": "true"}}),
    }


def narrowings(statement: Statement) -> dict[str, Edit]:
    """Return edits of an Allow statement that allow less."""
    return {
        "removed": lambda _: None,
        "one more condition": with_(
            Condition={**statement.get("Condition", {}), "StringNotEquals": {"aws:PrincipalTag/any": "thing"}}
        ),
        "only the first action": with_(Action=as_list(statement["Action"])[0]),
    }


def cases(base: Stack, wanted: str, edits: Callable[[Statement], dict[str, Edit]]) -> list[Case]:
    """Return every edit of every statement with the wanted effect."""
    return [
        Case(f"{base.display(logical_id)} {index}: {name}", (logical_id, path, index), edit)
        for logical_id, path in documents(base)
        for index, statement in enumerate(document_at(base.template, logical_id, path)["Statement"])
        if statement["Effect"] == wanted
        for name, edit in edits(statement).items()
    ]


def edited(base: Stack, case: Case) -> Stack:
    """Return the stack with one statement edited."""
    draft = Draft(base)
    logical_id, path, index = case.place
    statements = document_at(draft.template, logical_id, path)["Statement"]
    changed = case.edit(copy.deepcopy(statements[index]))
    statements[index : index + 1] = [] if changed is None else [changed]
    return draft.stack()


def classes_by_case(base: Stack, listed: list[Case], compare: Compare) -> dict[str, set[str]]:
    """Return the classes of the findings by case."""
    comparisons = compare([(base, edited(base, case)) for case in listed])
    return {
        case.name: {finding.class_name for finding in comparison.findings}
        for case, comparison in zip(listed, comparisons, strict=True)
    }


def test_statement_that_allows_more_needs_the_label(base: Stack, compare_stacks: Compare) -> None:
    listed = cases(base, "Allow", widenings)

    passed = [
        name for name, classes in classes_by_case(base, listed, compare_stacks).items() if "broaden" not in classes
    ]

    assert len(listed) > 150
    assert passed == []


def test_denial_that_denies_less_needs_the_label(base: Stack, compare_stacks: Compare) -> None:
    listed = cases(base, "Deny", loosenings)

    passed = [
        name for name, classes in classes_by_case(base, listed, compare_stacks).items() if "broaden" not in classes
    ]

    assert len(listed) > 30
    assert passed == []


def test_statement_that_allows_less_needs_no_label(base: Stack, compare_stacks: Compare) -> None:
    listed = cases(base, "Allow", narrowings)

    refused = {name: classes for name, classes in classes_by_case(base, listed, compare_stacks).items() if classes}

    assert len(listed) > 60
    assert refused == {}


def test_unchanged_stack_has_no_findings(base: Stack, prod: Stack, compare_stacks: Compare) -> None:
    assert [comparison.findings for comparison in compare_stacks([(base, base), (prod, prod)])] == [[], []]


@pytest.mark.parametrize("kept", ["s3:PutObject", "sagemaker:InvokeEndpointAsync"])
def test_counterexample_names_principal_and_a_new_action(kept: str, base: Stack, compare_stacks: Compare) -> None:
    draft = Draft(base)
    statement = next(item for item in draft.statements("ClientAccess/Policy") if item["Action"] == kept)
    statement["Action"] = kept.split(":")[0] + ":*"

    (finding,) = compare_stacks([(base, draft.stack())])[0].findings

    assert finding.example.startswith("anyone with ClientAccess/Policy: ")
    assert kept not in finding.example
