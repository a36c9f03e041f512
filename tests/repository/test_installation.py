"""What `make local` and `make test` install, and how."""

import ast
import io
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import distributions, packages_distributions
from pathlib import Path

import pytest

import install_packages
from install_packages import SETS, Installer, Progress, missing_pins, read_pins, split_into_jobs, torch_attempts

PROJECT = Path(__file__).parents[2]
LOCAL_FOLDERS = ("infra", "lambda", "local", "model_bundle", "client")
LOCAL_LIMIT_MB = 2200  # with bytecode and Node tools
NODE_TOOLS_MB = 60


def pins_of(name: str) -> dict[str, str]:
    return read_pins([PROJECT / lock for lock in SETS[name].locks])


def installed_mb(names: set[str]) -> float:
    """Return the size of the installed packages' files, without the bytecode, which grows as modules are imported."""
    return (
        sum(
            Path(str(found.locate_file(file))).stat().st_size
            for found in distributions()
            if found.metadata["Name"].lower().replace("_", "-").replace(".", "-") in names
            for file in found.files or []
            if file.suffix != ".pyc" and Path(str(found.locate_file(file))).is_file()
        )
        / 1e6
    )


def test_local_packages_have_the_versions_of_the_tests() -> None:
    local, test = pins_of("local"), read_pins([PROJECT / "requirements-dev.txt"])
    serving = read_pins([PROJECT / "requirements-serving.txt"])
    assert {name: pin for name, pin in local.items() if name not in serving}.items() <= test.items()
    assert not {"triton", "pytest", "ruff", "cfn-lint-serverless", "pandas", "zizmor", "uv"} & set(local)


def test_local_packages_stay_below_the_announced_sizes() -> None:
    local, test = pins_of("local"), pins_of("test")
    files = installed_mb(set(local))
    assert 0.8 * SETS["local"].disk_mb < files < SETS["local"].disk_mb  # what is missing is bytecode
    assert SETS["local"].disk_mb + NODE_TOOLS_MB <= LOCAL_LIMIT_MB
    assert installed_mb(set(test) - set(local)) < SETS["test"].disk_mb


def imported_modules(folder: str) -> Iterator[tuple[str, Path]]:
    for path in (PROJECT / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                yield from ((alias.name.partition(".")[0], path) for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                yield node.module.partition(".")[0], path


@pytest.mark.parametrize("folder", LOCAL_FOLDERS)
def test_what_make_local_imports_is_among_its_packages(folder: str) -> None:
    local, distributed = set(pins_of("local")), packages_distributions()
    optional = {"triton", "pytest", "huggingface_hub", "IPython", "gradio"}  # kernels, plugin, notebook, page
    for module, path in imported_modules(folder):
        if module in distributed and module not in optional and not module.startswith("mypy_boto3"):  # types only
            names = {name.lower().replace("_", "-").replace(".", "-") for name in distributed[module]}
            assert names & local, f"{path} imports {module}, which requirements-local.in lacks"


def test_every_missing_pin_is_in_exactly_one_job_and_large_ones_are_first() -> None:
    pins = pins_of("local")
    jobs = split_into_jobs(pins)
    assert sorted(pin for job in jobs for pin in job) == sorted(pins.values())
    assert jobs[0][0].startswith("torch==") and len(jobs[0]) == 1


def test_only_missing_or_other_versions_are_installed(tmp_path: Path) -> None:
    for name, version in (("torch", "2.13.0+cpu"), ("Typing_Extensions", "4.16.0"), ("six", "1.16.0")):
        folder = tmp_path / f"{name}-{version}.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (tmp_path / "half-1.0.dist-info").mkdir()
    pins = {"torch": "torch==2.13.0", "typing-extensions": "typing-extensions==4.16.0", "six": "six==1.17.0"}
    assert missing_pins({**pins, "half": "half==1.0"}, tmp_path) == {"six": "six==1.17.0", "half": "half==1.0"}


def test_line_without_a_version_is_refused(tmp_path: Path) -> None:
    lock = tmp_path / "lock.txt"
    lock.write_text("# comment\ntorch==1\nsix>=1\n")
    with pytest.raises(ValueError, match=r"lock.txt: every line must be name==version, got 'six>=1'"):
        read_pins([lock])


def test_linux_gets_torchs_cpu_build_and_others_what_pypi_has() -> None:
    first, second, last = torch_attempts("torch==2.13.0", system="Linux", machine="x86_64")
    assert first == ["torch==2.13.0+cpu"]
    assert second == [*first, "--index-url", install_packages.TORCH_CPU_INDEX]
    assert last == ["torch==2.13.0"]
    assert torch_attempts("torch==2.13.0", system="Darwin", machine="arm64") == [last]


@pytest.fixture
def fake_pip(tmp_path: Path) -> Path:
    """A Python whose pip records its arguments, fails for `broken`, and once for `flaky`."""
    program = tmp_path / "python"
    program.write_text(
        f"""#!/bin/sh
echo "$@" >> {tmp_path}/calls
case "$*" in
  *broken==*) echo no such release; exit 1 ;;
  *flaky==*) [ -e {tmp_path}/flaky ] || {{ touch {tmp_path}/flaky; exit 1; }} ;;
  *torch==2.0+cpu*index-url*) exit 0 ;;
  *torch==2.0+cpu*) exit 1 ;;
esac
"""
    )
    program.chmod(0o755)
    return program


def test_failed_part_is_installed_again_alone(fake_pip: Path, tmp_path: Path) -> None:
    out = io.StringIO()
    Installer(fake_pip, tmp_path / "log", Progress(out)).install([["flaky==1"], ["six==1", "attrs==2"]])
    assert (tmp_path / "calls").read_text().count("flaky==1") == 2
    lines = [line.partition("  ")[2].split("  ")[-1] for line in out.getvalue().splitlines()]
    assert sorted(lines) == ["flaky 1", "flaky 1 (again later)", "six 1 and 1 small packages"]


def test_package_that_cannot_be_installed_ends_with_pips_reason(fake_pip: Path, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"(?s)could not install broken 1; the end of .*log:.*no such release"):
        Installer(fake_pip, tmp_path / "log", Progress(io.StringIO())).install([["broken==1"]])


def test_torch_is_looked_for_in_pytorchs_index_after_the_configured_ones(
    fake_pip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(install_packages.platform, "system", lambda: "Linux")
    monkeypatch.setattr(install_packages.platform, "machine", lambda: "x86_64")
    Installer(fake_pip, tmp_path / "log", Progress(io.StringIO())).install([["torch==2.0"]])
    calls = (tmp_path / "calls").read_text().splitlines()
    assert [call.endswith(install_packages.TORCH_CPU_INDEX) for call in calls] == [False, True]


def test_imports_fill_the_caches_of_later_processes_and_may_fail(fake_pip: Path, tmp_path: Path) -> None:
    fake_pip.write_text(
        f'#!/bin/sh\necho "$3 $JSII_RUNTIME_PACKAGE_CACHE" >> {tmp_path}/calls\necho no torch >&2\nexit 1\n'
    )
    Installer(fake_pip, tmp_path / "log", Progress(io.StringIO())).import_once()
    calls = (tmp_path / "calls").read_text()
    assert calls.count("-c enabled") == 2
    assert "no torch" in (tmp_path / "log").read_text()


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_terminal_shows_one_line_of_what_runs() -> None:
    out = Terminal()
    progress = Progress(out)
    progress.running(["torch 2.13.0"])
    progress.finished("six 1.17.0", ["torch 2.13.0"])
    assert out.getvalue().count("\n") == 1
    assert out.getvalue().startswith("\r\x1b[K  0:00  … torch 2.13.0\r\x1b[K  0:00  six 1.17.0\n")


def test_silence_is_broken_by_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    progress = Progress(out)
    progress.running(["torch 2.13.0"])
    assert out.getvalue() == ""
    monkeypatch.setattr(install_packages, "HEARTBEAT_SECONDS", -1.0)
    progress.running(["torch 2.13.0"])
    assert out.getvalue() == "  0:00  … torch 2.13.0\n"


@pytest.mark.parametrize(
    ("target", "installed"), [("local", ["local"]), ("deploy", ["local"]), ("test", ["local", "test"])]
)
def test_target_installs_only_what_it_needs(target: str, installed: list[str], tmp_path: Path) -> None:
    command = ["make", "--dry-run", "--always-make", target, f"VENV={tmp_path / 'venv'}", f"PYTHON={sys.executable}"]
    shown = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True).stdout
    sets = [line.split()[-1] for line in shown.splitlines() if "install_packages.py" in line]
    assert sets == installed
    assert ("npm ci --omit=dev" in shown) == (target != "test")
