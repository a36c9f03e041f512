"""docs/ci.md against what it describes: variables, environments, options, labels and events."""

import argparse
import json
import re
from typing import Any

import pytest
import yaml

from infra.ci import settings
from repository_setup.__main__ import parser
from stack_gate.findings import CLASSES, label
from tests.workflows.steps import ROOT

PAGE = (ROOT / "docs/ci.md").read_text(encoding="utf-8")
WORKFLOWS = {path.name: path.read_text(encoding="utf-8") for path in (ROOT / ".github/workflows").glob("*.yml")}


def users(name: str) -> set[str]:
    """Return the workflows that use a variable."""
    return {workflow for workflow, text in WORKFLOWS.items() if re.search(rf"vars\.{name}\b", text)}


def triggers(workflow: str) -> dict[str, Any]:
    """Return a workflow's `on`, which YAML 1.1 reads as true."""
    content: dict[Any, Any] = yaml.safe_load(WORKFLOWS[workflow])
    return content[True]


def test_the_table_of_variables_is_that_of_the_workflows() -> None:
    table = PAGE.split("## 5.")[1].split("## 6.")[0]
    rows = dict(re.findall(r"^\| `([A-Z_]+)` \| .*? \| (.*) \|$", table, re.M))
    assert set(rows) == {name for text in WORKFLOWS.values() for name in re.findall(r"vars\.(\w+)", text)}
    for name, used_by in rows.items():
        named = set(re.findall(r"`([\w-]+\.yml)`", used_by)) or {"deploy.yml", "drift.yml", "pr.yml"}
        assert named == users(name), name


def test_no_workflow_uses_a_secret_but_githubs_own_token() -> None:
    assert {name for text in WORKFLOWS.values() for name in re.findall(r"\bsecrets\.(\w+)", text)} <= {"GITHUB_TOKEN"}


def test_every_named_workflow_exists() -> None:
    assert set(re.findall(r"`([\w-]+\.yml)`", PAGE)) <= set(WORKFLOWS)
    assert "gh workflow run deploy.yml -f environment=dev" in PAGE
    assert set(triggers("deploy.yml")["workflow_dispatch"]["inputs"]) == {"environment"}


def test_every_option_exists() -> None:
    options = {option for action in options_of(parser()) for option in action.option_strings}
    assert set(re.findall(r"`?(--(?:owners|reviewers|roles|apply|repository))\b", PAGE)) <= options
    assert set(re.findall(r"-c ci:(\w+)=", PAGE)) == set(settings.NAMES)


def options_of(found: argparse.ArgumentParser) -> list[argparse.Action]:
    return found._actions


def test_labels_are_the_gates() -> None:
    assert set(re.findall(r"`(gate:[a-z-]+)`", PAGE)) <= {label(name) for name in CLASSES}
    assert len(CLASSES) == 10 and "the ten labels" in PAGE


def test_label_events_start_no_lint_and_no_tests() -> None:
    """They would cancel a run in progress, as pr.yml's concurrency group is the pull request's."""
    assert triggers("pr.yml")["pull_request"]["types"] == ["opened", "synchronize", "reopened"]
    listening = {name for name in WORKFLOWS if "labeled" in str(triggers(name))}
    assert listening == {"pr-gate.yml"}
    groups = [yaml.safe_load(text)["concurrency"]["group"].partition("${{")[0] for text in WORKFLOWS.values()]
    assert len(groups) == len(set(groups))


def test_merge_groups_are_linted_and_tested() -> None:
    assert "merge_group" in triggers("pr.yml")


@pytest.mark.parametrize("workflow", sorted(WORKFLOWS))
def test_no_workflow_lists_environments_itself(workflow: str) -> None:
    declared = json.loads((ROOT / "cdk.json").read_text(encoding="utf-8"))["context"]["environments"]
    assert (
        re.findall(rf"(?<![\w-])(?:{'|'.join(declared)})(?!\w)", re.sub(r"#.*|/dev/null", "", WORKFLOWS[workflow]))
        == []
    )


@pytest.mark.parametrize("form", sorted((ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml")), ids=lambda form: form.name)
def test_issue_forms_have_what_github_requires(form: Any) -> None:
    if form.name == "config.yml":
        assert yaml.safe_load(form.read_text(encoding="utf-8")) == {"blank_issues_enabled": True}
        return
    content = yaml.safe_load(form.read_text(encoding="utf-8"))
    assert content["name"] and content["description"] and content["body"]
    for item in content["body"]:
        assert item["type"] in ("markdown", "textarea", "input", "dropdown")
        assert item["attributes"]["value" if item["type"] == "markdown" else "label"]
    assert any(item["type"] != "markdown" for item in content["body"])
