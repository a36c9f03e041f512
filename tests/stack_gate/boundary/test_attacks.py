"""No change passes the gate by disabling it, hiding from it or reaching what judges."""

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

import pytest

from stack_gate.__main__ import main
from stack_gate.checks import outcomes
from stack_gate.collect import sandbox, synthesis
from tests.stack_gate.boundary.attacks import ATTACKS
from tests.stack_gate.small_app import PUBLIC, ROOT, app, commit, git, install_cdk_stub, make_repository, write

pytestmark = pytest.mark.timeout(900)

SECRET = "not-a-real-secret"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The repository before any attack, with the snapshot of its base in the cache."""
    return make_repository(tmp_path_factory.mktemp("attacks") / "base")


@pytest.fixture
def repository(base: Path, tmp_path: Path) -> Path:
    """A copy to attack."""
    return shutil.copytree(base, tmp_path / "repository", symlinks=True)


@pytest.fixture(scope="module")
def listener() -> Generator[int]:
    """The port of a service on this machine's loopback interface."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def no_linters(*_: object) -> list[object]:
    """Stand in for the linters, which take seconds for each attack; test_checks.py has them."""
    return []


def judge(
    repository: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, *options: str
) -> tuple[int, dict[str, object]]:
    """Run the gate on branch `attack` and return its exit status and report."""
    monkeypatch.chdir(repository)
    cdk = install_cdk_stub(cache.parent / "stub")
    monkeypatch.setenv("PATH", os.pathsep.join([str(cdk), os.environ["PATH"]]))
    monkeypatch.setattr(outcomes, "linters", no_linters)
    report = repository.parent / "report.json"
    code = main(["--base", "main", "--head", "attack", "--cache", str(cache), "--json", str(report), *options])
    return code, json.loads(report.read_text(encoding="utf-8")) if report.exists() else {}


def test_there_are_at_least_thirty_attacks() -> None:
    assert len(ATTACKS) >= 30


def test_isolation_is_available() -> None:
    assert sandbox.isolation() is not None, "this machine offers no namespaces: the attacks cannot be tested"


@pytest.mark.parametrize("name", ATTACKS)
def test_attack_does_not_pass(
    name: str,
    base: Path,
    repository: Path,
    listener: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    attack = ATTACKS[name]
    home = tmp_path / "home"
    write(home, {".aws/credentials": SECRET})
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("GITHUB_TOKEN", SECRET)
    monkeypatch.setattr(synthesis, "TIMEOUT_SECONDS", 4 if name == "more time" else 120)
    attack.change(repository)
    values = {
        "HOME": home,
        "REPOSITORY": repository,
        "PORT": listener,
        "RULES": ROOT / "tools/stack_gate/rules/rules.toml",
    }
    text = (repository / "app.py").read_text(encoding="utf-8")
    for key, value in values.items():
        text = text.replace(key, str(value))
    (repository / "app.py").write_text(text, encoding="utf-8")
    if (repository / "vendor/.git").exists():
        shutil.rmtree(repository / "vendor/.git")
        git(repository, "switch", "--quiet", "--create", "attack")
        git(repository, "commit", "--quiet", "--message=submodule")
    else:
        commit(repository, "attack")

    code, report = judge(repository, base.parent / "cache", monkeypatch, "--require-isolation")
    shown = capfd.readouterr()

    assert code == (1 if attack.classes else 2), shown
    assert report.get("classes", []) == list(attack.classes), shown
    assert attack.message in shown.out + shown.err


def test_harmless_change_passes(base: Path, repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(repository, {"README.md": "words", "lambda/new_module.py": "", "app.py": app(setup="# a comment")})
    commit(repository, "attack")

    code, report = judge(repository, base.parent / "cache", monkeypatch)

    assert code == 0, report
    assert report["isolated"] is True


def test_gate_that_finds_nothing_hands_over_to_the_base(repository: Path, tmp_path: Path) -> None:
    """Start the head's own gate, as `make gate` does in a working tree. The base's has no linters, as above."""
    with (repository / "tools/stack_gate/checks/outcomes.py").open("a", encoding="utf-8") as file:
        file.write("\n\ndef linters(*_):\n    return []\n")
    git(repository, "commit", "--quiet", "--all", "--message=no linters")
    ATTACKS["the head's gate finds nothing"].change(repository)
    commit(repository, "attack")
    (repository / "node_modules").symlink_to(ROOT / "node_modules")
    cdk = install_cdk_stub(tmp_path / "stub")
    variables = {
        **os.environ,
        "PATH": os.pathsep.join([str(cdk), str(Path(sys.executable).parent), os.environ["PATH"]]),
        "PYTHONPATH": str(repository / "tools"),
    }
    command = [sys.executable, "-P", "-s", "-m", "stack_gate", "--base", "main", "--head", "attack"]
    command += ["--cache", str(tmp_path / "cache")]

    done = subprocess.run(command, cwd=repository, env=variables, capture_output=True, text=True)

    assert done.returncode == 1, done.stderr
    assert "needs labels: `gate:gate`, `gate:exposure`" in done.stdout


@pytest.fixture
def without_gate(base: Path, repository: Path) -> Path:
    """A repository of another project: its `main` contains no gate, and its `attack` opens a bucket."""
    git(repository, "rm", "-r", "--quiet", "tools")
    git(repository, "commit", "--quiet", "--message=another project")
    write(repository, {"app.py": app(change=PUBLIC)})
    commit(repository, "attack")
    return repository


@pytest.mark.parametrize(("options", "code"), [(("--standalone",), 1), ((), 2)])
def test_standalone_gate_judges_a_repository_without_one(
    options: tuple[str, ...], code: int, without_gate: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, report = judge(without_gate, tmp_path / "cache", monkeypatch, "--require-isolation", *options)

    assert found == code
    assert report.get("classes", []) == (["exposure"] if code == 1 else [])


def test_gate_in_the_repository_cannot_stand_alone(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A head would judge itself."""
    monkeypatch.chdir(ROOT)

    assert main(["--base", "HEAD", "--standalone"]) == 2
    assert "--standalone is for a gate outside the repository" in capfd.readouterr().err
