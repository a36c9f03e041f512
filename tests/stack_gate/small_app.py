"""A small repository that the gate can judge within a second or two: an app that writes its cloud assembly itself.

`stack.json` is the template, `manifest.json` extra properties of the stack's artifact. The gate's own code is committed
too, since only a base with a gate can judge. CDK_STUB stands for the CDK command line, which takes seconds to start.
"""

import json
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stack_gate.boundary.launch import COMPANIONS, PACKAGE

ROOT = Path(__file__).resolve().parents[2]
APP = """
import json, os
from pathlib import Path

template = json.loads(Path("stack.json").read_text())
properties = json.loads(Path("manifest.json").read_text())
output = Path(os.environ["CDK_OUTDIR"])
{setup}
artifacts = {{"S": {{"type": "aws:cloudformation:stack", "environment": "aws://unknown-account/us-east-1",
                    "properties": {{"templateFile": "S.template.json", **properties}}}}}}
{change}
(output / "S.template.json").write_text(json.dumps(template))
(output / "manifest.json").write_text(json.dumps({{"version": "48.0.0", "artifacts": artifacts}}))
"""
TEMPLATE: dict[str, Any] = {
    "Resources": {
        "Bucket": {
            "Type": "AWS::S3::Bucket",
            "DeletionPolicy": "Retain",
            "UpdateReplacePolicy": "Retain",
            "Properties": {
                "PublicAccessBlockConfiguration": {
                    "BlockPublicAcls": True,
                    "BlockPublicPolicy": True,
                    "IgnorePublicAcls": True,
                    "RestrictPublicBuckets": True,
                }
            },
        }
    }
}
CDK_STUB = '#!/bin/sh\nfor last; do :; done\nmkdir -p "$last"\nCDK_OUTDIR="$last" exec python3 app.py\n'
PUBLIC = 'template["Resources"]["Bucket"]["Properties"] = {}'
OPEN_ROLE: dict[str, Any] = {
    "Type": "AWS::IAM::Role",
    "Properties": {
        "AssumeRolePolicyDocument": {
            "Version": "2012-10-17",
            "Statement": [{"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}],
        }
    },
}
WORKFLOW = """name: Check
on: [pull_request]
permissions: {}
jobs:
  gate:
    runs-on: ubuntu-24.04
    permissions:
      contents: read
    steps:
      - uses: actions/checkout@3d3c42e5aac5ba805825da76410c181273ba90b1 # v7.0.1
        with:
          persist-credentials: false
      - run: make gate
"""


def app(*, setup: str = "", change: str = "") -> str:
    """Return app.py with a statement before its output and one that changes what it writes."""
    return APP.format(setup=setup, change=change)


def install_cdk_stub(folder: Path) -> Path:
    """Write the stub where npm would put the command line, and return the folder for PATH."""
    stub = folder / "node_modules/aws-cdk/bin/cdk"
    write(folder, {str(stub.relative_to(folder)): CDK_STUB})
    stub.chmod(0o755)
    return stub.parent


def git(folder: Path, *arguments: str) -> str:
    """Run git in a repository and return its output."""
    who = ["-c", "user.name=Somebody", "-c", "user.email=somebody@example.com", "-c", "protocol.file.allow=always"]
    done = subprocess.run(["git", "-C", str(folder), *who, *arguments], capture_output=True, text=True, check=True)
    return done.stdout


def write(folder: Path, files: Mapping[str, str]) -> None:
    """Write files below a folder."""
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")


def commit(folder: Path, branch: str) -> None:
    """Commit everything, ignored or not, on a new branch."""
    git(folder, "switch", "--quiet", "--create", branch)
    git(folder, "add", "--all", "--force")
    git(folder, "commit", "--quiet", "--allow-empty", "--message=change")


def make_repository(folder: Path) -> Path:
    """Create the repository, with its base on `main` checked out."""
    folder.mkdir(parents=True)
    ignored = shutil.ignore_patterns("__pycache__")
    for name in (PACKAGE, *COMPANIONS):
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=ignored)
        else:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, folder / name)
    settings: dict[str, object] = {"app": "python3 app.py", "context": {"environments": {"dev": {}}}}
    write(
        folder,
        {
            "app.py": app(),
            "stack.json": json.dumps(TEMPLATE),
            "manifest.json": json.dumps({"terminationProtection": True}),
            "cdk.json": json.dumps(settings),
            "requirements.txt": "",
            "lambda/handler.py": "",
            "Makefile": 'gate:\n\t@python -m stack_gate --base "$(BASE)"\n',
            ".github/workflows/check.yml": WORKFLOW,
        },
    )
    git(folder, "init", "--quiet", "--template=", "--initial-branch=unborn")
    commit(folder, "main")
    git(folder, "repack", "-adq")  # every attack copies the repository: one file instead of hundreds of objects
    return folder
