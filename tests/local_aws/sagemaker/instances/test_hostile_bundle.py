"""A bundle that installs packages and writes wherever it can changes nothing but its own container's folders."""

import json
import sys
import urllib.request
import uuid
import venv
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from local_aws.emulator import clients
from local_aws.emulator.clients import Runtime
from local_aws.sagemaker.endpoint_config import EndpointConfig
from local_aws.sagemaker.instances import container_python
from local_aws.sagemaker.instances.container import ServingStack, container_environment, temporary_folder

# What the worker tries when it starts: each line of ATTEMPTS is one kind of write into the project or its environment.
SERVICE = """
import json, os, subprocess, sys, uuid
from importlib.metadata import version
from pathlib import Path
import aged, uncached
from intruder import ORIGIN

PROJECT = Path(uncached.__file__).parents[4]  # below it, .venv/lib/python3/site-packages
WHEEL = os.environ["SAGEMAKER_BASE_DIR"] + "/model/code/second-1.0-py3-none-any.whl"
ATTEMPTS = {
    "new file": lambda: (PROJECT / "made").write_text("x"),
    "append": lambda: (PROJECT / "app.py").open("a").write("# changed"),
    "truncate": lambda: os.truncate(PROJECT / "app.py", 0),
    "remove": lambda: (PROJECT / "app.py").unlink(),
    "rename": lambda: (PROJECT / "app.py").rename(PROJECT / "moved.py"),
    "move out": lambda: (PROJECT / "app.py").rename(Path(os.environ["TMPDIR"]) / "app.py"),
    "folder": lambda: (PROJECT / "made-folder").mkdir(),
    "link": lambda: (PROJECT / "made-link").symlink_to("/"),
    "package": lambda: Path(uncached.__file__).write_text("raise SystemExit"),
    "pip uninstall": lambda: subprocess.run(
        [sys.executable, "-m", "pip", "uninstall", "-y", "resident"], check=True, capture_output=True
    ),
}

def attempt(action):
    try:
        action()
    except (OSError, subprocess.CalledProcessError) as error:
        return type(error).__name__
    return "done"

class Service:
    def initialize(self, context):
        subprocess.run([sys.executable, "-m", "pip", "install", "-q", WHEEL], check=True)  # pip by the bundle itself
        import second
        for name in (".cache/huggingface/x", ".triton/cache/x"):
            path = Path.home() / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("x")
        self.found = {"attempts": {name: attempt(action) for name, action in ATTEMPTS.items()}}
        self.found |= {"intruder": ORIGIN, "second": second.ORIGIN, "home": str(Path.home())}
        self.found |= {"aged": [version("aged"), aged.ORIGIN], "uuid": [version("uuid"), uuid.__file__]}
    def handle(self, data, context):
        return [json.dumps(self.found)] * len(data)
"""
LANDLOCK = "this kernel has no Landlock"


def write_wheel(folder: Path, name: str, version: str = "1.0") -> None:
    """Write a wheel with one module, which says in ORIGIN where it was imported from."""
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{name}.py", "ORIGIN = __file__\n")
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", f"{name}.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n")


def snapshot(folder: Path) -> dict[str, tuple[int, int]]:
    """Return size and modification time of every file and folder, by path."""
    found = {str(path.relative_to(folder)): path.lstat() for path in folder.rglob("*")}
    return {name: (status.st_size, status.st_mtime_ns) for name, status in found.items()}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A throw-away project with a virtual environment of its own, in which this test's containers run.

    The environment finds this machine's packages through a .pth file, so that pip never touches those.
    """
    project = tmp_path / "project"
    venv.create(project / ".venv", symlinks=True)
    (packages,) = project.glob(".venv/lib/python3*/site-packages")
    (packages / "machine.pth").write_text(f"{Path(pytest.__file__).parents[1]}\n")
    (packages / "uncached.py").write_text("")  # importing it would write a __pycache__
    for name in ("resident", "aged"):
        write_wheel(tmp_path, name)
        with zipfile.ZipFile(tmp_path / f"{name}-1.0-py3-none-any.whl") as wheel:
            wheel.extractall(packages)
    (project / "app.py").write_text("print('the project')\n")
    python = project / ".venv" / "bin" / "python"
    monkeypatch.setattr(sys, "executable", str(python))
    monkeypatch.setattr(container_python, "_shared_packages", lambda: [str(packages)])
    return project


@pytest.fixture
def hostile(
    tmp_path: Path, project: Path, config: EndpointConfig, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[dict[str, str], dict[str, tuple[int, int]]]]:
    """A container with the hostile bundle: its environment, and the project as it was before."""
    code = tmp_path / "instance" / "model" / "code"
    code.mkdir(parents=True)
    (code / "hostile_service.py").write_text(SERVICE)
    # pip replaces variables of this form in a requirements file.
    wheels = {"intruder": "1.0", "aged": "2.0", "uuid": "1.30"}
    required = [f"${{SAGEMAKER_BASE_DIR}}/model/code/{name}-{wheels[name]}-py3-none-any.whl" for name in wheels]
    (code / "requirements.txt").write_text("\n".join([*required, "resident>=1"]))
    for name, version in {**wheels, "second": "1.0"}.items():
        write_wheel(code, name, version)
    offline = {"PIP_NO_INDEX": "1"}
    runtime = Runtime("http://127.0.0.1:1", tmp_path, tmp_path / "a.pem", tmp_path / "a.pem", offline)
    monkeypatch.setattr(clients, "_runtime", [runtime])
    model = {"MMS_DEFAULT_SERVICE_HANDLER": "hostile_service:handle", "SAGEMAKER_MODEL_SERVER_WORKERS": "1"}
    environment = container_environment(
        replace(config, environment=model),
        runtime,
        base=tmp_path / "instance",
        temporary=temporary_folder(tmp_path),
        log=tmp_path / "log",
        credentials={},
    )
    before = snapshot(project)
    (tmp_path / "log").touch()
    stack = ServingStack(environment, tmp_path / "log")
    yield environment, before
    stack.stop()


def answer(environment: dict[str, str]) -> dict[str, Any] | None:
    url = f"http://127.0.0.1:{environment['SAGEMAKER_BIND_TO_PORT']}/invocations"
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data=b"{}", method="POST"), timeout=10) as response:
            return json.load(response)
    except OSError:
        return None


def test_bundle_changes_neither_the_project_nor_its_virtual_environment(
    hostile: tuple[dict[str, str], dict[str, tuple[int, int]]],
    project: Path,
    tmp_path: Path,
    eventually: Callable[..., Any],
) -> None:
    environment, before = hostile
    found: dict[str, Any] = eventually(lambda: answer(environment), 90)
    log = (tmp_path / "log").read_text()
    assert LANDLOCK not in log, "this test needs a kernel with Landlock, which Linux has since 5.13"
    # pip removes nothing outside of its own environment, and does not call that a failure.
    assert found["attempts"].pop("pip uninstall") == "done"
    assert set(found["attempts"].values()) == {"PermissionError"}, found["attempts"]
    assert snapshot(project) == before
    own = environment["TMPDIR"]
    assert found["home"] == own
    assert [Path(found[name]).is_relative_to(own) for name in ("intruder", "second")] == [True, True]
    # As in an image: a newer version hides the shared one, but a package hides no module of the standard library.
    assert found["aged"][0] == "2.0" and Path(found["aged"][1]).is_relative_to(own)
    assert found["uuid"] == ["1.30", uuid.__file__]
