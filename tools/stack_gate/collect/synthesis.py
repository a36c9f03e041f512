"""Run `cdk synth` for one environment of a revision, without account, credentials or network, and read its output."""

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from stack_gate import GateError
from stack_gate.template import Stack

TIMEOUT_SECONDS = 300
_KEPT_VARIABLES = ("HOME", "LANG", "LC_ALL", "TMPDIR", "USER", "XDG_CACHE_HOME", "SSL_CERT_FILE")
_PIP_FILES = ("RECORD", "INSTALLER", "REQUESTED", "direct_url.json")  # differ between versions of pip


def synthesise(source: Path, environment: str, python: Path, pip_variables: dict[str, str]) -> list[Stack]:
    """Return the stacks of an environment of cdk.json. Raise GateError with CDK's output if the synth fails."""
    cdk = shutil.which("cdk")
    if cdk is None:
        raise GateError("the CDK CLI was not found on PATH: install it with `npm ci`")
    # Nothing that differs between machines or names an account.
    variables = {
        **{name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ},
        "PATH": os.pathsep.join([str(python.parent), os.environ.get("PATH", "")]),
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "CDK_DISABLE_CLI_TELEMETRY": "true",
        "JSII_RUNTIME_PACKAGE_CACHE": "enabled",
        "PYTHONDONTWRITEBYTECODE": "1",
        **pip_variables,
    }
    options = ["--no-notices", "--no-version-reporting", "--context", f"env={environment}"]
    with tempfile.TemporaryDirectory(prefix="stack-gate-") as folder:
        output = Path(folder) / "assembly"
        command = [cdk, *options, "synth", "--quiet", "--output", str(output)]
        try:
            done = subprocess.run(
                command, cwd=source, env=variables, capture_output=True, text=True, timeout=TIMEOUT_SECONDS
            )
        except subprocess.TimeoutExpired as error:
            raise GateError(f"cdk synth of {environment} did not finish within {TIMEOUT_SECONDS} s") from error
        if done.returncode != 0:
            raise GateError(f"cdk synth of {environment} failed:\n{(done.stderr or done.stdout).strip()[-3000:]}")
        return read_assembly(output)


def read_assembly(folder: Path) -> list[Stack]:
    """Return every stack of a cloud assembly (CDK's output folder)."""
    stacks: list[Stack] = []
    for name, artifact in _read_json(folder / "manifest.json").get("artifacts", {}).items():
        if artifact.get("type") == "aws:cloudformation:stack":
            properties = artifact["properties"]
            account, _, region = artifact.get("environment", "").removeprefix("aws://").partition("/")
            stack = Stack(
                name=properties.get("stackName", name),
                template=_read_json(folder / properties["templateFile"]),
                region="" if region == "unknown-region" else region,
                account="" if account == "unknown-account" else account,
                termination_protection=bool(properties.get("terminationProtection")),
                assets=_read_assets(folder, folder / f"{name}.assets.json"),
                asset_keys=_asset_keys(folder / f"{name}.assets.json"),
            )
            stacks.append(stack)
    return stacks


def _asset_keys(manifest: Path) -> list[str] | None:
    """Return the object keys under which the deployment uploads the stack's assets, None without a manifest."""
    if not manifest.exists():
        return None
    files: dict[str, dict[str, Any]] = _read_json(manifest).get("files", {})
    return sorted(
        {destination["objectKey"] for entry in files.values() for destination in entry["destinations"].values()}
    )


def _read_assets(folder: Path, manifest: Path) -> dict[str, dict[str, str]]:
    """Return {display name of an asset: {file: sha256}}, without the template."""
    assets: dict[str, dict[str, str]] = {}
    entries: dict[str, dict[str, Any]] = _read_json(manifest).get("files", {}) if manifest.exists() else {}
    for digest, entry in entries.items():
        if entry.get("source", {}).get("path", "").endswith(".template.json"):
            continue
        source = folder / entry["source"]["path"]
        if source.is_file():
            files = {source.name.partition(".")[2]: _sha256(source)}
        else:
            paths = sorted(path for path in source.rglob("*") if path.is_file() and path.name not in _PIP_FILES)
            files = {path.relative_to(source).as_posix(): _sha256(path) for path in paths}
        assets[entry.get("displayName", digest).removesuffix(" Code").removesuffix("/Code")] = files
    return assets


def _read_json(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
