"""A pull request on a local clone, from branch to comment, through the command line."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stack_gate.boundary.github import GitHub
from stack_gate.boundary.label_approvals import parse_record
from stack_gate.report.comment import publish
from tests.stack_gate.fakes.github import COMMIT, FakeGitHub, serving

ROOT = Path(__file__).resolve().parents[2]
Gate = Callable[..., tuple[int, str, str]]


def git(folder: Path, *arguments: str) -> str:
    """Run git in a clone and return its output."""
    who = ["-c", "user.name=Somebody", "-c", "user.email=somebody@example.com"]
    done = subprocess.run(["git", "-C", str(folder), *who, *arguments], capture_output=True, text=True, check=True)
    return done.stdout


def unfolded(lines: list[str]) -> list[str]:
    """Return a comment without folded parts and without the line that names the commits."""
    shown: list[str] = []
    folded = False
    for line in lines:
        folded = (folded or line.startswith("<details>")) and not line.startswith("</details>")
        if not folded and not line.startswith(("</details>", "<sub>")):
            shown.append(line)
    return shown


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with the current project on `main`, and a pull request's branch `more-capacity`."""
    folder = tmp_path_factory.mktemp("clone")
    for name in git(ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard").split("\0"):
        if name and (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, folder / name)
    git(folder, "init", "--quiet", "--initial-branch=main")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message=base")
    git(folder, "switch", "--quiet", "--create", "more-capacity")
    settings = json.loads((folder / "cdk.json").read_text(encoding="utf-8"))
    settings["context"]["environments"]["dev"] = {"max_capacity": 3, "external_buckets": ["studio-audio"]}
    (folder / "cdk.json").write_text(json.dumps(settings), encoding="utf-8")
    with (folder / "model_bundle/code/inference.py").open("a", encoding="utf-8") as file:
        file.write("# a comment\n")
    git(folder, "commit", "--quiet", "--all", "--message=more capacity")
    return folder


@pytest.fixture(scope="module")
def gate(clone: Path) -> Gate:
    """Runs the gate in the clone; returns exit code, output and errors. Wheels are cached between test runs."""

    def run(*arguments: str) -> tuple[int, str, str]:
        tools = os.pathsep.join([str(Path(sys.executable).parent), str(ROOT / "node_modules/.bin"), os.environ["PATH"]])
        command = [sys.executable, "-m", "stack_gate", "--cache", str(ROOT / ".local/gate"), *arguments]
        variables = {**os.environ, "PATH": tools, "PYTHONPATH": str(ROOT / "tools")}
        done = subprocess.run(command, cwd=clone, env=variables, capture_output=True, text=True)
        return done.returncode, done.stdout, done.stderr

    return run


@pytest.fixture(scope="module")
def result(gate: Gate, tmp_path_factory: pytest.TempPathFactory) -> tuple[int, dict[str, Any], str]:
    """Exit code, JSON and comment for the pull request."""
    folder = tmp_path_factory.mktemp("report") / "new"
    json_file, comment = folder / "report.json", folder / "comment.md"
    code, _, error = gate(
        "--base", "main", "--head", "more-capacity", "--json", str(json_file), "--markdown", str(comment)
    )
    assert json_file.exists(), error
    return code, json.loads(json_file.read_text(encoding="utf-8")), comment.read_text(encoding="utf-8")


def test_pull_request_needs_exactly_its_labels(result: tuple[int, dict[str, Any], str]) -> None:
    code, report, _ = result

    assert code == 1
    assert report["labels_missing"] == ["gate:broaden", "gate:lint", "gate:money"]
    assert report["seconds"] < 600
    assert set(report["environments"]) == {"dev", "prod"}


def test_changed_bundle_file_is_listed_with_the_redeploys_it_causes(result: tuple[int, dict[str, Any], str]) -> None:
    _, report, _ = result
    (dev,) = report["environments"]["dev"]
    (prod,) = report["environments"]["prod"]

    assert [(change["name"], change["changed"]) for change in prod["assets"]] == [
        ("StagedModel/Bundle", ["inference.py"])
    ]
    assert prod["findings"] == []
    chain = ["StagedModel", "AsyncEndpoint/Model", "AsyncEndpoint/Config", "AsyncEndpoint/Endpoint"]
    assert chain in dev["redeploys"]
    assert chain in prod["redeploys"]


def test_comment_starts_with_the_verdict(result: tuple[int, dict[str, Any], str]) -> None:
    comment = result[2].splitlines()

    assert comment[1] == "## Stack gate: needs labels: `gate:broaden`, `gate:lint`, `gate:money`"
    costs = "| dev | MusicGen-dev | $0.000/h, unchanged | **$1.515/h → $4.545/h** | $"  # and the planner's estimate
    assert any(line.startswith(costs) for line in comment)


def test_worked_pull_request_in_the_docs_shows_the_real_comment(result: tuple[int, dict[str, Any], str]) -> None:
    """Compare everything that is not folded; docs/gate.md quotes the comment on this pull request."""
    document = (ROOT / "docs/gate.md").read_text(encoding="utf-8").splitlines()
    quoted = [line[2:] for line in document if line.startswith(">")]

    def compared(lines: list[str]) -> list[str]:
        # Whether checkov was compared depends on the machine: its environment is made by `make lint`.
        return [line for line in unfolded(lines) if line and not line.startswith("checkov was not compared")]

    assert compared(quoted) == compared(result[2].splitlines()[1:])


def test_comment_is_posted_and_then_updated(result: tuple[int, dict[str, Any], str], tmp_path: Path) -> None:
    (tmp_path / "comment.md").write_text(result[2], encoding="utf-8")
    (tmp_path / "report.json").write_text(json.dumps(result[1]), encoding="utf-8")
    fake = FakeGitHub()

    with serving(fake) as address:
        github = GitHub(address=address, repository="o/r", token="not-a-real-token")
        publish(tmp_path, 7, COMMIT, github)
        publish(tmp_path, 7, COMMIT, github)

    (body,) = [comment["body"].strip() for comment in fake.comments]
    assert body.rpartition("\n")[0].strip() == result[2].strip()
    assert set(parse_record(body).digests) == {"broaden", "lint", "money"}


def test_unpacked_packages_are_indexed_for_every_synth(result: tuple[int, dict[str, Any], str]) -> None:
    """Without aws-cdk-lib's index each synth would take a gibibyte, and twice its processor time."""
    (home,) = (path for path in (ROOT / ".local/gate/jsii").iterdir() if path.name.isalnum())
    entries = [marker.parent for marker in home.rglob(".jsii-runtime-package-cache")]

    assert {"aws-cdk-lib", "cdk-nag"} <= {entry.parents[1].name for entry in entries}
    assert [entry.name for entry in entries if not list(entry.glob(".jsii.runtime.v*.json"))] == []


def test_labels_allow_the_pull_request(gate: Gate, result: tuple[int, dict[str, Any], str]) -> None:
    code, output, _ = gate("--base", "main", "--head", "more-capacity", "--allow", "broaden,lint,money")

    assert code == 0
    assert "## Stack gate: pass" in output


def test_working_tree_without_changes_passes_against_its_own_commit(gate: Gate, clone: Path) -> None:
    code, output, _ = gate("--base", "more-capacity")

    assert code == 0
    assert "No change." in output
    assert "without isolation" not in output
    assert git(clone, "status", "--porcelain") == ""


def test_failed_synth_is_no_verdict(gate: Gate, clone: Path) -> None:
    """Of every environment, since a synth that succeeds takes seconds."""
    settings = (clone / "cdk.json").read_text(encoding="utf-8")
    (clone / "cdk.json").write_text(re.sub(r'"max_capacity": \d', '"max_capacity": 0', settings), encoding="utf-8")
    try:
        code, _, error = gate("--base", "main")
    finally:
        (clone / "cdk.json").write_text(settings, encoding="utf-8")

    assert code == 2
    assert "max_capacity must be 1 to 100, got 0" in error


def test_make_says_the_exit_status_that_it_cannot_return(gate: Gate) -> None:
    """Make exits with 2 whatever fails, so the gate states its own status last."""
    _, _, error = gate("--base", "main", "--head", "more-capacity")

    assert error.splitlines()[-1] == "stack gate: needs a label (exit status 1)"


def test_base_without_a_gate_is_no_verdict(tmp_path: Path, gate: Gate, clone: Path) -> None:
    git(clone, "switch", "--quiet", "--create", "no-gate", "main")
    git(clone, "rm", "-r", "--quiet", "tools/stack_gate")
    git(clone, "commit", "--quiet", "--message=no gate")
    git(clone, "switch", "--quiet", "more-capacity")

    code, _, error = gate("--base", "no-gate", "--head", "main")

    assert code == 2
    assert "has no gate" in error


def test_gate_of_the_base_judges_for_a_checkout_with_another(gate: Gate, clone: Path) -> None:
    """The base's gate is this one with another verdict; the running one hands over to it."""
    git(clone, "switch", "--quiet", "--create", "other-gate", "main")
    (clone / "tools/stack_gate/__main__.py").write_text("import sys\nsys.exit(1)\n", encoding="utf-8")
    git(clone, "commit", "--quiet", "--all", "--message=other gate")
    git(clone, "switch", "--quiet", "more-capacity")

    code, _, error = gate("--base", "other-gate", "--head", "main")

    assert code == 1
    assert "judges, not this checkout's" in error


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--base", "nowhere"), "a revision must be a commit, branch or tag of this repository, got 'nowhere'"),
        (("--base", "--output=x"), "expected one argument"),
        (
            ("--base", "main", "--allow", "monney"),
            "--allow must be a list of gate, replace, broaden, exposure, lint, retention, money, service, two-phase, "
            "unknown, got monney",
        ),
    ],
)
def test_invalid_options_are_no_verdict(arguments: tuple[str, ...], message: str, gate: Gate) -> None:
    code, _, error = gate(*arguments)

    assert code == 2
    assert message in error
