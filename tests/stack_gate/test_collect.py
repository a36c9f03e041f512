"""What the gate compares: git trees, virtualenvs and wheels, cloud assemblies, price tables, cached snapshots."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from stack_gate import GateError
from stack_gate.collect import packages, snapshots
from stack_gate.collect.assembly import read_assembly
from stack_gate.collect.git import WORKING_TREE, Repository
from stack_gate.collect.packages import Packages, app_packages, pip_options, staging_wheels
from stack_gate.collect.snapshots import environment_names, read_prices, take_snapshot
from stack_gate.collect.synthesis import synthesise
from stack_gate.template import Stack
from tests.stack_gate.small_app import CDK_STUB, install_cdk_stub, write
from tests.stack_gate.small_app import app as app_code

PINNED = f"numpy==1.0 \\\n    --hash=sha256:{'0' * 64}\n"
OPTIONS = 'PIP_OPTIONS = ("--only-binary=:all:", "--platform=manylinux2014_aarch64", "--no-compile")\n'


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A repository with one commit, one changed file, one new file and one ignored file."""
    folder = tmp_path / "checkout"
    folder.mkdir()
    for name, text in {"kept.txt": "one", ".gitignore": "ignored.txt\n", "gone.txt": "gone"}.items():
        (folder / name).write_text(text, encoding="utf-8")
    who = ["-c", "user.name=Somebody", "-c", "user.email=somebody@example.com"]
    for command in (["init", "-q", "-b", "main"], ["add", "-A"], ["commit", "-q", "-m", "first"]):
        subprocess.run(["git", "-C", str(folder), *who, *command], check=True)
    (folder / "kept.txt").write_text("two", encoding="utf-8")
    (folder / "new.txt").write_text("new", encoding="utf-8")
    (folder / "ignored.txt").write_text("ignored", encoding="utf-8")
    (folder / "gone.txt").unlink()
    return folder


def files(folder: Path) -> dict[str, str]:
    """Return {name: text} of every file below a folder."""
    return {path.name: path.read_text(encoding="utf-8") for path in folder.rglob("*") if path.is_file()}


def test_commit_is_extracted(checkout: Path, tmp_path: Path) -> None:
    with Repository(checkout) as repository:
        repository.extract(repository.tree("main"), tmp_path / "out")

    assert files(tmp_path / "out") == {"kept.txt": "one", ".gitignore": "ignored.txt\n", "gone.txt": "gone"}


def test_working_tree_is_what_git_would_add(checkout: Path, tmp_path: Path) -> None:
    with Repository(checkout) as repository:
        tree = repository.tree(WORKING_TREE)
        repository.extract(tree, tmp_path / "out")
        changed = repository.changed_files(repository.tree("main"), tree)

    assert files(tmp_path / "out") == {"kept.txt": "two", ".gitignore": "ignored.txt\n", "new.txt": "new"}
    assert changed == ["gone.txt", "kept.txt", "new.txt"]


@pytest.mark.parametrize("hidden_by", ["size and time", "assume-unchanged", "skip-worktree"])
def test_changes_that_git_would_not_look_for_are_judged(hidden_by: str, checkout: Path, tmp_path: Path) -> None:
    """An edit in the second of a commit has the size and time of before."""
    git = ["git", "-C", str(checkout), "-c", "core.trustctime=false"]
    kept = checkout / "kept.txt"
    os.utime(kept, (1, 1))
    subprocess.run([*git, "add", "kept.txt"], check=True)
    kept.write_text("six", encoding="utf-8")
    if hidden_by == "size and time":
        subprocess.run([*git, "config", "core.trustctime", "false"], check=True)
        os.utime(kept, (1, 1))
    else:
        subprocess.run([*git, "update-index", f"--{hidden_by}", "kept.txt"], check=True)

    with Repository(checkout) as repository:
        repository.extract(repository.tree(WORKING_TREE), tmp_path / "out")

    assert files(tmp_path / "out")["kept.txt"] == "six"


def test_reading_the_working_tree_leaves_the_repository_unchanged(checkout: Path) -> None:
    before = sorted(path.relative_to(checkout) for path in (checkout / ".git").rglob("*"))

    with Repository(checkout) as repository:
        repository.tree(WORKING_TREE)

    assert sorted(path.relative_to(checkout) for path in (checkout / ".git").rglob("*")) == before


def test_equal_content_has_equal_digests(checkout: Path) -> None:
    with Repository(checkout) as repository:
        first, again = repository.tree(WORKING_TREE), repository.tree(WORKING_TREE)

        assert first.digest == again.digest
        assert first.digest != repository.tree("main").digest


@pytest.mark.parametrize("revision", ["nowhere", "--help", "main:kept.txt", ""])
def test_unknown_revision_is_rejected(revision: str, checkout: Path) -> None:
    with Repository(checkout) as repository, pytest.raises(GateError, match="must be a commit, branch or tag"):
        repository.tree(revision)


def test_folder_without_a_repository_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(GateError, match="git rev-parse failed"):
        Repository(tmp_path)


def test_running_python_is_used_if_it_has_the_pins(tmp_path: Path) -> None:
    version = packages._installed("pytest")  # pyright: ignore[reportPrivateUsage]
    (tmp_path / "requirements.txt").write_text(f"pytest=={version}\n", encoding="utf-8")

    assert app_packages(tmp_path, tmp_path / "cache") == Packages()


def test_other_pins_are_installed_once_as_wheels_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commands: list[list[str]] = []

    def pretend(command: list[str], shown: str) -> None:
        commands.append(command)

    monkeypatch.setattr(packages, "_run", pretend)
    (tmp_path / "requirements.txt").write_text("pytest==0.0.1\n", encoding="utf-8")

    first = app_packages(tmp_path, tmp_path / "cache")
    second = app_packages(tmp_path, tmp_path / "cache")

    assert first == second != Packages()
    (command,) = commands
    assert command[:5] == [sys.executable, "-m", "pip", "install", "--target"]
    assert {"--only-binary=:all:", "--no-deps"} <= set(command)


def test_revision_without_pins_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(GateError, match=r"the revision has no requirements\.txt"):
        app_packages(tmp_path, tmp_path)


@pytest.mark.parametrize(
    "line",
    ["-e .", "./evil", "evil @ file:///evil", "git+https://host/evil", "--index-url http://h/", "a>=1", "-r b.txt"],
)
def test_requirement_that_is_no_pin_is_rejected(line: str, tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text(f"{line}\n", encoding="utf-8")

    with pytest.raises(GateError, match="must pin every package"):
        app_packages(tmp_path, tmp_path)


@pytest.fixture
def bundling(tmp_path: Path) -> Path:
    """A revision that bundles one wheel."""
    (tmp_path / "lambda").mkdir()
    (tmp_path / "infra").mkdir()
    (tmp_path / "lambda/requirements.txt").write_text(PINNED, encoding="utf-8")
    (tmp_path / "infra/staging_asset.py").write_text(f"import nothing_that_exists\n{OPTIONS}", encoding="utf-8")
    return tmp_path


def test_wheels_are_downloaded_once_by_hash_and_then_found_without_an_index(
    bundling: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands: list[list[str]] = []

    def pretend(command: list[str], failure: str) -> None:
        commands.append(command)

    monkeypatch.setattr(packages, "_run", pretend)

    first = staging_wheels(bundling, bundling / "cache")
    second = staging_wheels(bundling, bundling / "cache")

    (command,) = commands
    assert "--require-hashes" in command
    assert "--platform=manylinux2014_aarch64" in command
    assert "--no-compile" not in command
    assert first == second
    assert first.variables["PIP_NO_INDEX"] == "1"


def test_failed_download_leaves_no_cached_wheels(bundling: Path) -> None:
    with pytest.raises(GateError, match="could not get the wheels"):
        staging_wheels(bundling, bundling / "cache")

    assert list((bundling / "cache/wheels").iterdir()) == []


def test_requirements_without_hashes_use_no_cached_wheels(bundling: Path) -> None:
    (bundling / "lambda/requirements.txt").write_text("numpy==1.0\n", encoding="utf-8")

    assert staging_wheels(bundling, bundling / "cache") == Packages()


@pytest.mark.parametrize("path", ["infra/staging_asset.py", "infra/constructs/staged_model.py"])
def test_pip_options_are_found_in_any_module_of_infra(path: str, tmp_path: Path) -> None:
    (tmp_path / path).parent.mkdir(parents=True)
    (tmp_path / path).write_text('PIP_OPTIONS = ("--platform=any",)\n', encoding="utf-8")

    assert pip_options(tmp_path) == ("--platform=any",)


def test_assembly_is_read_with_the_files_of_its_assets(tmp_path: Path) -> None:
    (tmp_path / "asset.1").mkdir()
    (tmp_path / "asset.1/inference.py").write_text("", encoding="utf-8")
    (tmp_path / "S.template.json").write_text('{"Resources": {}}', encoding="utf-8")
    stack = {
        "type": "aws:cloudformation:stack",
        "environment": "aws://unknown-account/eu-west-1",
        "properties": {"templateFile": "S.template.json", "terminationProtection": True},
    }
    entry = {"displayName": "Bundle", "source": {"path": "asset.1"}}
    manifest = {"artifacts": {"S": stack, "Tree": {"type": "cdk:tree"}}}
    (tmp_path / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    (tmp_path / "S.assets.json").write_text(json.dumps({"files": {"1": entry}}), encoding="utf-8")

    (read,) = read_assembly(tmp_path)

    assert (read.name, read.region, read.account, read.termination_protection) == ("S", "eu-west-1", "", True)
    assert list(read.assets["Bundle"]) == ["inference.py"]


@pytest.fixture
def app(tmp_path: Path) -> Path:
    """A repository with the files that a snapshot needs."""
    folder = tmp_path / "app"
    (folder / "infra").mkdir(parents=True)
    texts = {
        "requirements.txt": "",
        "cdk.json": '{"context": {"environments": {"dev": {}, "prod": {}}}}',
        "infra/prices.json": '{"usd_per_hour": {"ml.g5.xlarge": 1.5}}',
    }
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    who = ["-c", "user.name=Somebody", "-c", "user.email=somebody@example.com"]
    for command in (["init", "-q", "-b", "main"], ["add", "-A"], ["commit", "-q", "-m", "first"]):
        subprocess.run(["git", "-C", str(folder), *who, *command], check=True)
    return folder


def test_synth_leaves_template_validation_to_the_linters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The app skips it by CDK's variable; the command line still refuses what constructs annotate as an error."""
    source, home = tmp_path / "source", tmp_path / "home"
    change = 'template["Metadata"] = {"validates": os.environ["CDK_VALIDATION"], "given": os.environ["GIVEN"]}'
    write(source, {"app.py": app_code(change=change), "stack.json": "{}", "manifest.json": "{}"})
    home.mkdir()
    stub = install_cdk_stub(tmp_path / "stub")
    (stub / "cdk").write_text(CDK_STUB.replace("exec", 'GIVEN="$*" exec'), encoding="utf-8")
    monkeypatch.setenv("PATH", os.pathsep.join([str(stub), os.environ["PATH"]]))

    (stack,) = synthesise(source, "dev", Packages(), home)

    assert stack.template["Metadata"]["validates"] == "false"
    assert "--validation" in stack.template["Metadata"]["given"].split()


def test_snapshot_is_taken_once_for_a_tree(app: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synthesised: list[str] = []

    def pretend(source: Path, environment: str, *_: object) -> list[Stack]:
        synthesised.append(environment)
        return [Stack(name=environment, template={"Resources": {}})]

    monkeypatch.setattr(snapshots, "synthesise", pretend)

    with Repository(app) as repository:
        tree = repository.tree("main")
        first = take_snapshot(tree, repository, tmp_path / "cache")
        second = take_snapshot(tree, repository, tmp_path / "cache")

    assert sorted(synthesised) == ["dev", "prod"]
    assert first == second
    assert first.prices == {"ml.g5.xlarge": 1.5}


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (["infra/config/prices.json"], {"ml.g5.xlarge": 1.0}),
        (["infra/prices.json"], {"ml.g5.xlarge": 1.0}),
        (["infra/config/prices.json", "infra/prices.json"], {"ml.g5.xlarge": 1.0}),
        ([], {}),
    ],
)
def test_prices_are_read_from_either_location(files: list[str], expected: dict[str, float], tmp_path: Path) -> None:
    for price, name in enumerate(files, start=1):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(json.dumps({"usd_per_hour": {"ml.g5.xlarge": price}}), encoding="utf-8")

    assert read_prices(tmp_path) == expected


def test_app_without_environments_is_rejected(app: Path) -> None:
    (app / "cdk.json").write_text("{}", encoding="utf-8")

    with pytest.raises(GateError, match="must name at least one environment"):
        environment_names(app)
