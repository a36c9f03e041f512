"""Run one shell step of a workflow or action on this machine, as GitHub's runner does, with fakes of its programs."""

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Outcome:
    """What a step did: its exit status, its output, its `GITHUB_OUTPUT`, and the calls of the fakes."""

    code: int
    text: str
    outputs: dict[str, str]
    calls: list[str]


def job(workflow: str, name: str) -> dict[str, Any]:
    """Return a job of `.github/workflows/<workflow>.yml`."""
    return yaml.safe_load((ROOT / f".github/workflows/{workflow}.yml").read_text(encoding="utf-8"))["jobs"][name]


def step(workflow: str, name: str, title: str) -> dict[str, Any]:
    """Return the step with this name."""
    (found,) = [step for step in job(workflow, name)["steps"] if step.get("name") == title]
    return found


def action_step(action: str, title: str) -> dict[str, Any]:
    """Return the step with this name of `.github/actions/<action>/action.yml`."""
    loaded = yaml.safe_load((ROOT / f".github/actions/{action}/action.yml").read_text(encoding="utf-8"))
    (found,) = [step for step in loaded["runs"]["steps"] if step.get("name") == title]
    return found


def run(step: dict[str, Any], folder: Path, fakes: dict[str, str], **environment: str) -> Outcome:
    """Run a step's script in `folder`; `fakes` are shell scripts by the program's name or relative path."""
    programs = folder / "fake-programs"
    programs.mkdir()
    for path, script in fakes.items():
        file = programs / path if "/" not in path else folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f'#!/bin/sh\necho "{path} $*" >> "{folder}/calls"\n{script}\n', encoding="utf-8")
        file.chmod(0o755)
    for name in ("calls", "output", "summary"):
        (folder / name).touch()
    done = subprocess.run(
        ["bash", "-e", "-c", step["run"]],
        cwd=folder,
        env={
            "PATH": f"{programs}:{os.environ['PATH']}",
            "GITHUB_OUTPUT": str(folder / "output"),
            "GITHUB_STEP_SUMMARY": str(folder / "summary"),
            "GITHUB_REPOSITORY": "owner/project",
            "GITHUB_SHA": "abc",
            **environment,
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    outputs = dict(line.split("=", 1) for line in (folder / "output").read_text().splitlines())
    return Outcome(done.returncode, done.stdout + done.stderr, outputs, (folder / "calls").read_text().splitlines())
