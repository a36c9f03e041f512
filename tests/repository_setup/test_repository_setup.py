"""tools/repository_setup against a fake `gh`: what it changes, that it may be repeated, and that it asks first."""

import json
import os
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from infra.ci.stack import STACK_NAME
from repository_setup.__main__ import CI_STACK, main
from repository_setup.plan import REQUIRED_CHECKS, output_name
from stack_gate.findings import CLASSES, label
from tests.repository_setup.fake_gh import gh
from tests.workflows.steps import ROOT, job

REPOSITORY = "owner/project"
BASE = f"repos/{REPOSITORY}"
ARN = "arn:aws:iam::111111111111:role/MusicGenCi-{}"
OUTPUTS = ("DevDeployRoleArn", "DevReadRoleArn", "ProdDeployRoleArn", "ProdReadRoleArn")


class Repository:
    """A repository on the fake GitHub, and a checkout of it."""

    def __init__(self, folder: Path) -> None:
        self.project, self._state = folder / "checkout", folder / "state.json"
        (self.project / ".github").mkdir(parents=True)
        shutil.copy(ROOT / ".github/CODEOWNERS", self.project / ".github")
        shutil.copy(ROOT / "cdk.json", self.project)
        self.write(
            {
                "calls": [],
                "objects": {
                    BASE: {"default_branch": "trunk"},
                    f"{BASE}/labels": [],
                    f"{BASE}/rulesets": [],
                    "users/someone": {"id": 7},
                    "orgs/owner/teams/audio": {"id": 8},
                },
            }
        )

    @property
    def state(self) -> dict[str, Any]:
        return json.loads(self._state.read_text())

    def write(self, state: dict[str, Any]) -> None:
        self._state.write_text(json.dumps(state))

    def object(self, path: str) -> Any:
        return self.state["objects"].get(f"{BASE}{path}")

    def writes(self) -> list[str]:
        """Return the calls that changed something."""
        return [call for call in self.state["calls"] if not call.startswith("GET ")]

    def owners(self) -> str:
        return (self.project / ".github/CODEOWNERS").read_text()

    def run(self, *words: str) -> int:
        return main(["--repository", REPOSITORY, "--project", str(self.project), *words])


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Repository:
    """The repository, which the fake CLI changes in this process: a process for each call took most of the time."""
    monkeypatch.setattr("repository_setup.github._gh", gh)
    monkeypatch.setenv("FAKE_GH_STATE", str(tmp_path / "state.json"))
    return Repository(tmp_path)


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Repository:
    """The repository, which a program `gh` changes."""
    file = tmp_path / "bin" / "gh"
    file.parent.mkdir()
    file.write_text(f'#!/bin/sh\nexec {sys.executable} {Path(__file__).with_name("fake_gh.py")} "$@"\n')
    file.chmod(0o755)
    monkeypatch.setenv("PATH", f"{file.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_GH_STATE", str(tmp_path / "state.json"))
    return Repository(tmp_path)


@pytest.fixture
def roles(tmp_path: Path) -> str:
    file = tmp_path / "roles.json"
    file.write_text(json.dumps({CI_STACK: {name: ARN.format(name) for name in OUTPUTS}}))
    return str(file)


def test_without_apply_nothing_is_changed(
    repository: Repository, roles: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = repository.owners()
    assert repository.run("--owners", "@owner/audio", "--reviewers", "@someone", "--roles", roles) == 1
    printed = capsys.readouterr().out
    assert repository.writes() == [] and repository.owners() == before
    assert "would create the label gate:money\n" in printed
    assert "would set up the environment prod, approved by one of 1, from trunk only\n" in printed
    assert "would set up the environment prod-read, without approval\n" in printed
    assert "would name the owners in .github/CODEOWNERS\n" in printed
    assert "CI's roles must trust: -c ci:repository=owner/project\n" in printed


def test_apply_makes_everything_and_a_second_run_nothing(
    repository: Repository, roles: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--owners", "@owner/audio,@someone", "--reviewers", "@someone @owner/audio", "--roles", roles]
    assert repository.run(*words, "--apply") == 0
    assert {item["name"] for item in repository.object("/labels")} == {label(name) for name in CLASSES}
    for name in json.loads((ROOT / "cdk.json").read_text())["context"]["environments"]:
        assert repository.object(f"/environments/{name}")["protection_rules"][0]["reviewers"] == [
            {"type": "Team", "reviewer": {"id": 8}},
            {"type": "User", "reviewer": {"id": 7}},
        ]
        branches = repository.object(f"/environments/{name}/deployment-branch-policies")["branch_policies"]
        assert branches == [{"name": "trunk", "type": "branch"}]
        deploy, read = output_name(name, "Deploy"), output_name(name, "Read")
        variables = f"/environments/{name}/variables"
        assert repository.object(f"{variables}/AWS_DEPLOY_ROLE_ARN")["value"] == ARN.format(deploy)
        assert repository.object(f"{variables}/AWS_REGION")["value"] == "us-east-1"
        assert repository.object(f"/environments/{name}-read") == {
            "deployment_branch_policy": None,
            "protection_rules": [],
        }
        variables = f"/environments/{name}-read/variables"
        assert repository.object(f"{variables}/AWS_READ_ROLE_ARN")["value"] == ARN.format(read)
        assert repository.object(f"{variables}/AWS_DEPLOY_ROLE_ARN") is None
    assert repository.object("/actions/variables/DRIFT")["value"] == "on"
    assert "/cdk.json                 @owner/audio @someone\n" in repository.owners()
    assert "@maintainers" not in repository.owners()
    writes = len(repository.writes())
    capsys.readouterr()
    assert repository.run(*words) == 0
    assert "nothing to do\n" in capsys.readouterr().out
    assert repository.run(*words, "--apply") == 0
    assert len(repository.writes()) == writes


def test_without_roles_drift_stays_off_and_roles_are_not_set(program: Repository) -> None:
    assert program.run("--apply") == 0
    assert program.object("/actions/variables/DRIFT") is None
    assert program.object("/environments/dev/variables/AWS_DEPLOY_ROLE_ARN") is None


def test_rules_require_owners_and_the_three_jobs(repository: Repository) -> None:
    assert repository.run("--apply") == 0
    rules = {rule["type"]: rule.get("parameters", {}) for rule in repository.object("/rulesets/1")["rules"]}
    assert set(rules) == {"deletion", "non_fast_forward", "pull_request", "required_status_checks"}
    assert rules["pull_request"]["require_code_owner_review"] is True
    checks = [check["context"] for check in rules["required_status_checks"]["required_status_checks"]]
    assert checks == list(REQUIRED_CHECKS)


def test_required_checks_are_jobs_of_the_pull_request_workflows() -> None:
    for name in REQUIRED_CHECKS:
        assert job("pr-gate" if name == "gate" else "pr", name).get("name", name) == name


def test_weakened_rules_are_repaired_and_added_ones_kept(
    repository: Repository, capsys: pytest.CaptureFixture[str]
) -> None:
    repository.run("--apply")
    state = repository.state
    rules = state["objects"][f"{BASE}/rulesets/1"]["rules"]
    rules[2]["parameters"]["require_code_owner_review"] = False
    rules.append({"type": "required_signatures"})
    repository.write(state)
    capsys.readouterr()
    assert repository.run() == 1
    assert "would repair the rules of the default branch\n" in capsys.readouterr().out
    assert repository.run("--apply") == 0
    rules = repository.object("/rulesets/1")["rules"]
    assert rules[2]["parameters"]["require_code_owner_review"] is True
    assert {"type": "required_signatures"} in rules
    assert repository.run() == 0


def test_stricter_rules_and_further_reviewers_are_left_alone(repository: Repository) -> None:
    repository.run("--reviewers", "@someone", "--apply")
    state = repository.state
    state["objects"][f"{BASE}/rulesets/1"]["rules"][3]["parameters"]["required_status_checks"].append({"context": "x"})
    reviewers = state["objects"][f"{BASE}/environments/dev"]["protection_rules"][0]["reviewers"]
    reviewers.append({"type": "User", "reviewer": {"id": 9}})
    repository.write(state)
    assert repository.run("--reviewers", "@someone") == 0


def test_approvers_and_waiting_time_of_an_environment_are_kept(repository: Repository) -> None:
    repository.run("--apply")
    state = repository.state
    rules = [
        {"type": "required_reviewers", "reviewers": [{"type": "User", "reviewer": {"id": 9}}]},
        {"type": "wait_timer", "wait_timer": 30},
    ]
    state["objects"][f"{BASE}/environments/dev"]["protection_rules"] = rules
    repository.write(state)
    repository.run("--reviewers", "@someone", "--apply")
    approvers, timer = repository.object("/environments/dev")["protection_rules"]
    assert [item["reviewer"]["id"] for item in approvers["reviewers"]] == [7, 9]
    assert timer["wait_timer"] == 30


def test_labels_beyond_the_first_page_are_seen(repository: Repository) -> None:
    state = repository.state
    state["objects"][f"{BASE}/labels"] = [{"name": f"other-{number}", "description": ""} for number in range(150)]
    repository.write(state)
    repository.run("--apply")
    assert repository.run() == 0


def test_subject_of_the_repositorys_tokens_is_shown(repository: Repository, capsys: pytest.CaptureFixture[str]) -> None:
    state = repository.state
    subject = {"use_default": False, "sub_claim_prefix": "repo:owner@1/project@2"}
    state["objects"][f"{BASE}/actions/oidc/customization/sub"] = subject
    repository.write(state)
    repository.run()
    printed = capsys.readouterr().out
    assert "CI's roles must trust: -c ci:repository=owner@1/project@2\n" in printed
    assert "warning: the repository customises its tokens' subject" in printed


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["--repository", "owner/project; rm -rf /"],
            "the repository must be owner/name, got 'owner/project; rm -rf /'",
        ),
        (["--repository", "owner/other"], "there is no repository owner/other, or this login may not see it"),
        (["--owners", "someone"], "people and teams must be @name or @organization/team, got 'someone'"),
        (["--owners", "@a\n* @evil/x/y"], "people and teams must be @name or @organization/team, got '*'"),
        (["--reviewers", "@nobody"], "GitHub knows no @nobody, or this login may not see it"),
        (["--reviewers", "@a @b @c @d @e @f @g"], "there may be at most 6 people and teams, got 7"),
        (["--roles", "absent.json"], "absent.json must be the outputs file of the stack MusicGenCi: "),
    ],
)
def test_wrong_values_change_nothing(
    repository: Repository, words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert repository.run(*words, "--apply") == 2
    assert capsys.readouterr().err.startswith(f"repository setup: {message}")
    assert repository.writes() == []


def test_roles_file_must_hold_arns_of_roles(
    repository: Repository, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "wrong.json"
    file.write_text(json.dumps({CI_STACK: {"DevDeployRoleArn": "hf_something"}}))
    assert repository.run("--roles", str(file), "--apply") == 2
    assert "must be the ARN of a role" in capsys.readouterr().err


def test_refusal_of_github_is_one_line(program: Repository, capsys: pytest.CaptureFixture[str]) -> None:
    program.write({**program.state, "refused": [f"{BASE}/labels"]})
    assert program.run("--apply") == 2
    error = capsys.readouterr().err
    assert "POST repos/owner/project/labels failed: gh: Must have admin rights to Repository. (HTTP 403)" in error


def test_missing_cli_is_named(
    program: Repository, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "")
    assert program.run() == 2
    assert "the GitHub CLI is missing: install gh" in capsys.readouterr().err


def test_names_are_those_of_cis_stack_and_of_the_workflows() -> None:
    assert CI_STACK == STACK_NAME
    text = "".join(path.read_text() for path in (ROOT / ".github/workflows").glob("*.yml"))
    used = set(re.findall(r"vars\.(\w+)", text))
    source = (ROOT / "tools/repository_setup/plan.py").read_text()
    assert used == set(re.findall(r'"(AWS_\w+|DRIFT)"', source))
