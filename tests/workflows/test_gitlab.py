"""The GitLab job: which revisions it judges, by which gate, and what reaches the merge request."""

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.workflows.steps import ROOT, Outcome, run

JOB: dict[str, Any] = yaml.safe_load((ROOT / ".gitlab/stack-gate.yml").read_text(encoding="utf-8"))["stack-gate"]
# The gate's calls, by the module that they run; the judge says whether it sees a token.
PYTHON = """
case "$*" in
  *"-m stack_gate --base"*) echo "token=${STACK_GATE_TOKEN-none} job=${CI_JOB_TOKEN-none}"; exit "${VERDICT:-0}" ;;
esac
"""


def git(folder: Path, *arguments: str) -> str:
    who = ["-c", "user.name=Somebody", "-c", "user.email=somebody@example.com"]
    done = subprocess.run(["git", "-C", str(folder), *who, *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def commit(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(text)
    git(folder, "add", name)
    git(folder, "commit", "--quiet", f"--message={name}")


@pytest.fixture
def origin(tmp_path: Path) -> Path:
    """A project whose merge request 7 changes a file, while `main` has moved on."""
    origin = tmp_path / "origin"
    origin.mkdir()
    git(origin, "init", "--quiet", "--initial-branch=main")
    commit(origin, "shared", "base\n")
    git(origin, "switch", "--quiet", "--create", "change")
    commit(origin, "changed", "by the merge request\n")
    git(origin, "update-ref", "refs/merge-requests/7/head", "change")
    git(origin, "switch", "--quiet", "main")
    commit(origin, "later", "on main\n")
    return origin


def judge(origin: Path, **environment: str) -> Outcome:
    """Run the job's script; `make` and the gate's Python are fakes."""
    temporary = origin.parent / "tmp"
    temporary.mkdir()
    given = {
        "CI_PROJECT_DIR": str(origin.parent / "builds"),
        "CI_REPOSITORY_URL": str(origin),
        "CI_MERGE_REQUEST_TARGET_BRANCH_NAME": "main",
        "CI_MERGE_REQUEST_IID": "7",
        "CI_COMMIT_SHA": git(origin, "rev-parse", "change"),
        "CI_JOB_TOKEN": "secret",
        "STACK_GATE_TOKEN": "secret",
        "TMPDIR": str(temporary),
    }
    return run({"run": "\n".join(JOB["script"])}, origin.parent, {"make": "", "python": PYTHON}, **given, **environment)


def clone(origin: Path) -> Path:
    (work,) = (origin.parent / "tmp").iterdir()
    return work / "project"


def test_merge_request_is_judged_as_merged_into_its_target(origin: Path) -> None:
    done = judge(origin)

    assert done.code == 0, done.text
    project = clone(origin)
    (call,) = [call for call in done.calls if "-m stack_gate --base" in call]
    head = call.partition("--head ")[2].split()[0]
    parents = [git(project, "rev-parse", f"{head}^{number}") for number in (1, 2)]
    assert parents == [git(origin, "rev-parse", name) for name in ("main", "change")]
    assert git(project, "ls-tree", "--name-only", head).split() == ["changed", "later", "shared"]
    assert "--require-isolation" in call and "--standalone" not in call


def test_nothing_of_the_merge_request_is_checked_out(origin: Path) -> None:
    judge(origin)

    assert not (clone(origin) / "changed").exists()
    assert JOB["variables"]["GIT_STRATEGY"] == "none"


def test_judge_has_no_token_and_the_others_run_around_it(origin: Path) -> None:
    done = judge(origin)

    assert "token=none job=none" in done.text
    modules = [call.partition("-m ")[2].split()[0] for call in done.calls if call.startswith("python ")]
    assert modules == ["stack_gate.boundary.label_approvals", "stack_gate", "stack_gate.report.comment"]


@pytest.mark.parametrize(("verdict", "commented"), [("1", True), ("2", False)])
def test_verdict_is_the_jobs_and_only_a_verdict_is_commented(origin: Path, verdict: str, commented: bool) -> None:
    done = judge(origin, VERDICT=verdict)

    assert str(done.code) == verdict
    assert any("stack_gate.report.comment" in call for call in done.calls) is commented


def test_gate_of_another_repository_judges_standing_alone(origin: Path) -> None:
    place = {"STACK_GATE_REPOSITORY": str(origin), "STACK_GATE_COMMIT": git(origin, "rev-parse", "main")}
    done = judge(origin, **place)

    assert done.code == 0, done.text
    assert any("--require-isolation --standalone" in call for call in done.calls)
    assert any(call.startswith("make -C ") and "/gate tools" in call for call in done.calls)


def test_merge_request_that_has_moved_on_is_no_verdict(origin: Path) -> None:
    git(origin, "update-ref", "refs/merge-requests/7/head", "main")
    done = judge(origin)

    assert (done.code, done.calls) == (2, [])
    assert "the merge request has moved on" in done.text


def test_conflict_is_no_verdict(origin: Path) -> None:
    commit(origin, "changed", "by main\n")
    done = judge(origin)

    assert (done.code, done.calls) == (2, [])
    assert "conflicts with its target branch" in done.text


def test_token_belongs_to_the_jobs_environment_alone() -> None:
    assert JOB["environment"] == {"name": "stack-gate", "action": "access"}
    assert JOB["rules"] == [{"if": '$CI_PIPELINE_SOURCE == "merge_request_event"'}]
