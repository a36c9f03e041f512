# jsii passes the bundling options as one object, unlike its type annotations
# pyright: reportArgumentType=false
"""The staging Lambda's code and wheels, bundled by pip for Lambda's platform on any machine, without docker."""

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

import jsii
from aws_cdk import AssetHashType, BundlingOptions, DockerImage, ILocalBundling
from aws_cdk import aws_lambda as lambda_

SOURCES = Path(__file__).resolve().parents[2] / "lambda"
REQUIREMENTS = SOURCES / "requirements.txt"
# Graviton: a fifth cheaper per GB-second, with SHA-2 and CRC-32 instructions, which staging needs, in every core.
ARCHITECTURE = lambda_.Architecture.ARM_64
RUNTIME = lambda_.Runtime.PYTHON_3_14
PIP_OPTIONS = (
    "--only-binary=:all:",
    "--implementation=cp",
    "--python-version=3.14",
    "--platform=manylinux_2_28_aarch64",
    "--platform=manylinux_2_27_aarch64",
    "--platform=manylinux2014_aarch64",
    "--no-compile",
    "--no-input",
    "--quiet",
    "--disable-pip-version-check",
    "--root-user-action=ignore",
)


def staging_code() -> lambda_.AssetCode:
    """Return the asset: `stage_model/` and the packages of `lambda/requirements.txt`."""
    return lambda_.Code.from_asset(
        str(SOURCES),
        asset_hash_type=AssetHashType.CUSTOM,
        asset_hash=source_hash(),
        # CDK requires an image; it is never pulled, as the local bundling below succeeds or raises.
        bundling=BundlingOptions(image=DockerImage.from_registry("docker-is-not-used"), local=PipBundling()),
    )


def source_hash() -> str:
    """Return a hash of sources, pinned requirements and pip's options, the same on every machine."""
    digest = hashlib.sha256("\0".join(PIP_OPTIONS).encode())
    for path in [*source_files(), REQUIREMENTS]:
        digest.update(f"\0{path.relative_to(SOURCES).as_posix()}\0".encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def source_files() -> list[Path]:
    """Return the files of `stage_model/`, sorted, without bytecode."""
    return sorted(path for path in (SOURCES / "stage_model").rglob("*") if path.is_file() and path.suffix != ".pyc")


@jsii.implements(ILocalBundling)
class PipBundling:
    """Fills CDK's output folder without a container."""

    def try_bundle(self, output_dir: str, options: BundlingOptions) -> bool:
        """Copy the wheels and the sources into `output_dir`. Raise RuntimeError with pip's output if it fails."""
        target = Path(output_dir)
        locations = [f"--target={target}", f"--requirement={REQUIREMENTS}"]
        # Conflicts with the packages of this environment, which pip would look for, say nothing of another folder.
        command = [sys.executable, "-m", "pip", "install", "--no-warn-conflicts", *PIP_OPTIONS, *locations]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            output = done.stderr.strip()
            if output.endswith("No module named pip"):
                output += "\n`uv venv` installs no pip: run `uv pip install pip`, or use `uv venv --seed`"
            raise RuntimeError(f"pip could not install the staging Lambda's wheels from {REQUIREMENTS}:\n{output}")
        shutil.rmtree(target / "bin", ignore_errors=True)  # command-line scripts, which name this machine's Python
        for path in source_files():
            destination = target / path.relative_to(SOURCES)
            destination.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, destination)
        return True
