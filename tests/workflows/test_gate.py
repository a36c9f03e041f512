"""The action that judges: which revisions, whose approvals, and by which gate, for a pull request and a merge queue."""

import subprocess
from pathlib import Path

import pytest

from tests.workflows.steps import Outcome, action_step, job, run

FETCH = action_step("stack-gate", "Fetch the revisions as objects")
LABELS = action_step("stack-gate", "Find out which findings the labels cover")
JUDGE = action_step("stack-gate", "Judge")
INSTALL = action_step("stack-gate", "Install the gate's tools")
SUMMARY = action_step("stack-gate", "Show the report in the run's summary")
COMMENT = action_step("stack-gate-comment", "Post or update the comment")
QUEUE = "refs/heads/gh-readonly-queue/"


def git(folder: Path, *arguments: str) -> str:
    who = ["-c", "user.name=Somebody", "-c", "user.email=somebody@example.com"]
    done = subprocess.run(["git", "-C", str(folder), *who, *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout of the base, whose origin has pull request 7 from a branch, merged into `main` for its checks."""
    origin, checkout = tmp_path / "origin", tmp_path / "checkout"
    origin.mkdir()
    git(origin, "init", "--quiet", "--initial-branch=main")
    git(origin, "config", "uploadpack.allowAnySHA1InWant", "true")  # as GitHub's servers do
    git(origin, "commit", "--quiet", "--allow-empty", "--message=base")
    git(origin, "switch", "--quiet", "--create", "change")
    git(origin, "commit", "--quiet", "--allow-empty", "--message=change")
    git(origin, "switch", "--quiet", "--create", "merge", "main")
    git(origin, "merge", "--quiet", "--no-ff", "--message=merge", "change")
    git(origin, "update-ref", "refs/pull/7/merge", "merge")
    git(origin, "switch", "--quiet", "main")
    git(tmp_path, "clone", "--quiet", "--single-branch", "--branch=main", str(origin), str(checkout))
    return checkout


def fetch(checkout: Path, **environment: str) -> Outcome:
    """Run the step that fetches; GitHub leaves the variables of the other event empty."""
    names = ("NUMBER", "HEAD", "GROUP_BASE", "GROUP_REF", "TARGET")
    return run(FETCH, checkout, {}, **{**dict.fromkeys(names, ""), "TOKEN": "not-a-real-token", **environment})


def revisions(checkout: Path) -> list[str]:
    return [git(checkout, "rev-parse", f"refs/gate/{name}") for name in ("base", "head")]


def group(checkout: Path, **changed: str) -> dict[str, str]:
    """Return the variables of a merge group with pull request 7, on top of `main`."""
    base, head = (git(checkout.parent / "origin", "rev-parse", name) for name in ("main", "merge"))
    entry = f"{QUEUE}main/pr-7-{base}"
    given = {"EVENT": "merge_group", "HEAD": head, "GROUP_BASE": base, "GROUP_REF": entry, "TARGET": "refs/heads/main"}
    return {**given, **changed}


def test_pull_request_is_judged_as_merged_into_its_base(checkout: Path) -> None:
    origin = checkout.parent / "origin"
    done = fetch(checkout, EVENT="pull_request_target", NUMBER="7", HEAD=git(origin, "rev-parse", "change"))

    assert (done.code, done.outputs) == (0, {"number": "7"})
    assert revisions(checkout) == [git(origin, "rev-parse", name) for name in ("main", "merge")]
    assert "not-a-real-token" not in (checkout / ".git/config").read_text()


def test_pull_request_that_has_moved_on_is_no_verdict(checkout: Path) -> None:
    done = fetch(checkout, EVENT="pull_request_target", NUMBER="7", HEAD="0" * 40)

    assert (done.code, done.outputs) == (2, {})
    assert "the pull request has moved on" in done.text


def test_merge_group_is_judged_against_its_base_with_its_pull_requests_approvals(checkout: Path) -> None:
    given = group(checkout)
    done = fetch(checkout, **given)

    assert (done.code, done.outputs) == (0, {"number": "7"})
    assert revisions(checkout) == [given["GROUP_BASE"], given["HEAD"]]


def test_target_branch_may_have_slashes(checkout: Path) -> None:
    entry = f"{QUEUE}release/1.x/pr-12-{'a' * 40}"

    assert fetch(checkout, **group(checkout, GROUP_REF=entry, TARGET="refs/heads/release/1.x")).outputs == {
        "number": "12"
    }


@pytest.mark.parametrize(
    "entry",
    [
        "refs/heads/main",
        f"{QUEUE}main/pr-7",
        f"{QUEUE}main/pr-7-{'a' * 39}",
        f"{QUEUE}main/pr-7 8-{'a' * 40}",
        f"{QUEUE}main/pr-0-{'a' * 40}",
        f"{QUEUE}other/pr-7-{'a' * 40}",
        f"{QUEUE}main/x/pr-7-{'a' * 40}",
        f"{QUEUE}main/pr-7-{'a' * 40}\nnumber=8",
    ],
)
def test_merge_group_that_names_no_pull_request_is_no_verdict(checkout: Path, entry: str) -> None:
    done = fetch(checkout, **group(checkout, GROUP_REF=entry))

    assert (done.code, done.outputs) == (2, {})
    assert "must name one pull request" in done.text


def test_merge_group_that_does_not_contain_its_base_is_no_verdict(checkout: Path) -> None:
    origin = checkout.parent / "origin"
    git(origin, "commit", "--quiet", "--allow-empty", "--message=later")

    done = fetch(checkout, **group(checkout, GROUP_BASE=git(origin, "rev-parse", "main")))

    assert (done.code, done.outputs) == (2, {})
    assert "does not descend from its base" in done.text


def test_any_other_event_is_no_verdict(checkout: Path) -> None:
    done = fetch(checkout, EVENT="pull_request", NUMBER="7")

    assert (done.code, done.outputs) == (2, {})
    assert "got pull_request" in done.text


def at(folder: Path, gate: str) -> dict[str, str]:
    """Return the variables of an action in the repository `gate` below a folder."""
    place = folder / gate / ".github/actions/stack-gate"
    place.mkdir(parents=True, exist_ok=True)
    return {"GITHUB_ACTION_PATH": str(place), "RUNNER_TEMP": str(folder / "temp")}


def test_approvals_are_those_of_the_pull_request(tmp_path: Path) -> None:
    done = run(LABELS, tmp_path, {"gate/.venv/bin/python": ""}, NUMBER="7", GITHUB_TOKEN="t", **at(tmp_path, "gate"))

    assert done.code == 0
    (call,) = done.calls
    assert call.endswith(
        f"-P -s -m stack_gate.boundary.label_approvals --pull-request 7 --output {tmp_path}/temp/approvals.json"
    )


@pytest.mark.parametrize(("gate", "option"), [(".", ""), ("gate", " --standalone")])
def test_gate_of_another_repository_judges_standing_alone(tmp_path: Path, gate: str, option: str) -> None:
    git(tmp_path, "init", "--quiet")
    done = run(JUDGE, tmp_path, {f"{gate}/.venv/bin/python": "exit 1"}, **at(tmp_path, gate))

    assert done.code == 1
    (call,) = done.calls
    asked = f"-P -s -m stack_gate --base refs/gate/base --head refs/gate/head --require-isolation{option} --approvals "
    assert asked in call
    assert f"--sarif {tmp_path}/temp/gate-report/report.sarif" in call


def test_checkov_is_installed_with_the_gate(tmp_path: Path) -> None:
    done = run(INSTALL, tmp_path, {"make": ""}, **at(tmp_path, "gate"))

    assert done.calls == [f"make -C {tmp_path}/gate/.github/actions/stack-gate/../../.. tools .venv-checkov/.ready"]


@pytest.mark.parametrize("written", [True, False])
def test_summary_shows_the_report_if_there_is_one(tmp_path: Path, written: bool) -> None:
    given = at(tmp_path, "gate")
    if written:
        (tmp_path / "temp/gate-report").mkdir(parents=True)
        (tmp_path / "temp/gate-report/comment.md").write_text("verdict\n")

    assert run(SUMMARY, tmp_path, {}, **given).code == 0
    assert (tmp_path / "summary").read_text() == ("verdict\n" if written else "")


@pytest.mark.parametrize("written", [True, False])
def test_comment_is_posted_if_the_gate_stored_a_report(tmp_path: Path, written: bool) -> None:
    given = at(tmp_path, "gate")
    if written:
        (tmp_path / "temp/gate-report").mkdir(parents=True)
        (tmp_path / "temp/gate-report/comment.md").touch()

    done = run(COMMENT, tmp_path, {"python3": ""}, NUMBER="7", COMMIT="abc", **given)

    assert done.code == 0
    posted = f"python3 -P -s -m stack_gate.report.comment --report {tmp_path}/temp/gate-report --pull-request 7"
    assert done.calls == ([f"{posted} --commit abc"] if written else [])


def test_merge_group_gets_no_comment() -> None:
    assert "github.event_name == 'pull_request_target'" in job("pr-gate", "comment")["if"]
