"""The embedded AWS, built and installed as a package, tests a foreign CDK project with its fixture and its command."""

import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
TINY_APP = ROOT / "tests" / "local_aws" / "emulator" / "tiny_app" / "app.py"
FOREIGN_TEST = """
from pathlib import Path
import local_aws

def test_deploys_uses_and_destroys_the_app(embedded_aws):
    assert Path(local_aws.__file__).is_relative_to(INSTALLED)
    outputs = embedded_aws.deploy(Path(__file__).parent)
    s3, bucket = embedded_aws.client("s3"), outputs["Tiny"]["BucketName"]
    assert s3.get_object(Bucket=bucket, Key="made/object")["Body"].read() == b"x"
    embedded_aws.destroy(Path(__file__).parent)
    assert bucket not in {item["Name"] for item in s3.list_buckets()["Buckets"]}
"""


def run(*command: str, cwd: Path, **options: object) -> str:
    """Run a program that must succeed, without this project on its path; return its output."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    tools = [str(Path(sys.executable).parent), str(ROOT / "node_modules" / ".bin"), environment["PATH"]]
    environment |= {"PATH": os.pathsep.join(tools), "NODE_PATH": str(ROOT / "node_modules"), "CDK_VALIDATION": "false"}
    done = subprocess.run(
        command, cwd=cwd, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=500
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of a throw-away virtual environment with the package, built as a wheel, offline.

    Its dependencies are this environment's, through a .pth file; only the package itself is installed.
    """
    folder = tmp_path_factory.mktemp("package")
    shutil.copytree(
        ROOT / "local", folder / "source", ignore=shutil.ignore_patterns("__pycache__", "build", "*.egg-info")
    )
    wheel = (
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
        "-q",
        "-w",
        "dist",
    )
    run(*wheel, "./source", cwd=folder)
    venv.create(folder / "venv", symlinks=True)
    (packages,) = folder.glob("venv/lib/python3*/site-packages")
    (packages / "machine.pth").write_text(f"{Path(pytest.__file__).parents[1]}\n")
    made = folder / "venv" / "bin" / "python"
    (built,) = (folder / "dist").glob("local_aws-*.whl")
    run(str(made), "-m", "pip", "install", "--no-deps", "--no-index", "-q", str(built), cwd=folder)
    return made


@pytest.mark.timeout(900)
def test_fixture_deploys_a_foreign_app(python: Path, tmp_path: Path) -> None:
    project = tmp_path / "foreign"
    project.mkdir()
    shutil.copy(TINY_APP, project / "app.py")
    (project / "cdk.json").write_text(f'{{"app": "{sys.executable} app.py"}}')
    (project / "test_tiny.py").write_text(f"INSTALLED = {str(python.parents[1])!r}\n{FOREIGN_TEST}")
    assert "1 passed" in run(str(python), "-m", "pytest", "-q", "-p", "no:randomly", "test_tiny.py", cwd=project)


def test_command_prints_an_environment_that_the_sdk_uses(python: Path, tmp_path: Path) -> None:
    command = python.with_name("local-aws")
    script = f"""
        set -eu
        {command} start --state aws > ready & server=$!
        trap 'kill -INT $server; wait $server || true' EXIT
        while ! grep -q "is ready" ready; do kill -0 $server; sleep 0.1; done
        source <({command} env --state aws)
        {python} -c 'import boto3; boto3.client("s3").create_bucket(Bucket="mine")'
        {python} -c 'import boto3; print(boto3.client("s3").list_buckets()["Buckets"][0]["Name"])'
    """
    assert run("bash", "-c", script, cwd=tmp_path).splitlines()[-1] == "mine"
    message = subprocess.run([str(command), "env", "--state", "nowhere"], cwd=tmp_path, capture_output=True, text=True)
    assert (message.returncode, message.stderr.partition(";")[0]) == (1, "no embedded AWS runs on nowhere")
