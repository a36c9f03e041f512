"""What a changed GitHub workflow newly grants: triggers, rights, secrets, foreign code, checks that no longer fail."""

import re
from collections.abc import Iterator
from typing import Any, cast

import yaml

from stack_gate.findings import Finding, digest_of
from stack_gate.template import as_list, as_object, is_list, is_object

MAX_BYTES = 1 << 18
RISKY_TRIGGERS = {
    "pull_request_target": "it runs with the base's rights and secrets on a stranger's pull request",
    "workflow_run": "it runs with the base's rights and secrets after a stranger's run",
    "issue_comment": "it runs with the base's rights and secrets on a stranger's comment",
    "repository_dispatch": "anyone with a token that writes can start it",
}
_JOB_KEYS = {
    "if": ("runs only if", "a skipped check counts as passed"),
    "environment": ("uses the environment", "it gets that environment's secrets and roles"),
    "secrets": ("passes secrets", "secrets reach another workflow"),
    "container": ("runs in the container", "foreign code runs in the job"),
    "services": ("starts the services", "foreign code runs beside the job"),
    "strategy": ("runs once for each of", "an empty list of variants is a check that does not run"),
}
_LEVELS = {"none": 0, "read": 1, "write": 2}
_PINNED = re.compile(r"(\./.*|docker://[^@]+@sha256:[0-9a-f]{64}|[\w.-]+/[\w./-]+@[0-9a-f]{40})")
_SECRET = re.compile(
    r"secrets(?:\.([A-Za-z0-9_]+)|\[[^\]]*\]|\b)|github\.token\b|toJSON\(\s*github\s*\)", re.IGNORECASE
)
_INJECTION = re.compile(r"\$\{\{[^}]*\b(github\.(event|head_ref|ref_name)|inputs\.|steps\.|needs\.)[^}]*\}\}")


def find_workflow_changes(path: str, before: bytes | None, after: bytes | None) -> list[Finding]:
    """Return named findings of class `gate` for what the head's version newly contains. The base's may be missing."""
    if after is None:
        return []
    new = _facts(after)
    if new is None:
        return [_finding(path, "it cannot be read", "the file must be plain YAML without aliases", after)]
    old = (_facts(before) if before is not None else None) or set[tuple[str, str]]()
    found = [_finding(path, what, why, after) for what, why in sorted(new - old)]
    if before is not None:
        found += [
            _finding(path, f"removes the {what}", why, after) for what, why in sorted(_kept(before) - _kept(after))
        ]
    return found


def _finding(path: str, what: str, why: str, after: bytes) -> Finding:
    digest = digest_of("workflow", path, what, after.decode(errors="replace"))
    return Finding(class_name="gate", resource=path, what=what, why=why, digest=digest)


def _load(content: bytes) -> dict[str, Any] | None:
    if len(content) > MAX_BYTES:
        return None
    try:
        scanned = cast(Iterator[object], yaml.scan(content, Loader=yaml.SafeLoader))  # pyright: ignore[reportUnknownMemberType]
        if any(isinstance(token, yaml.AliasToken | yaml.AnchorToken | yaml.TagToken) for token in scanned):
            return None
        loaded: object = yaml.safe_load(content)
    except (yaml.YAMLError, RecursionError, ValueError):
        return None
    # YAML 1.1 reads the key `on` as true.
    return (
        {{"True": "on"}.get(str(key), str(key)): value for key, value in loaded.items()} if is_object(loaded) else None
    )


def _facts(content: bytes) -> set[tuple[str, str]] | None:
    """Return (what it does, why that matters) for everything that grants something, None if it cannot be read."""
    workflow = _load(content)
    if workflow is None:
        return None
    facts = {
        (f"is triggered by {name}", RISKY_TRIGGERS[name]) for name in _triggers(workflow) if name in RISKY_TRIGGERS
    }
    facts |= set(_strings(workflow))
    jobs = as_object(workflow.get("jobs"))
    for name, job in jobs.items():
        facts |= set(_job_facts(str(name), as_object(job), workflow))
    for step in map(as_object, as_list(as_object(workflow.get("runs")).get("steps"))):
        facts |= set(_step_facts("the action", step))
    return facts


def _job_facts(name: str, job: dict[str, Any], workflow: dict[str, Any]) -> Iterator[tuple[str, str]]:
    where = f"job {name}"
    for scope, level in _permissions(job.get("permissions", workflow.get("permissions"))):
        yield f"{where} may {level} {scope}", "broader rights for a job, and for everything that it runs"
    if job.get("continue-on-error", False) is not False:
        yield f"{where} sets continue-on-error", "a failed check counts as passed"
    runs_on = str(job.get("runs-on", ""))
    if "self-hosted" in runs_on or "${{" in runs_on or is_object(job.get("runs-on")):
        yield f"{where} runs on {runs_on}", "a machine that keeps what a run leaves behind"
    for key, (what, why) in _JOB_KEYS.items():
        if key in job:
            yield f"{where} {what} {str(job[key])[:120]}", why
    if "uses" in job:
        yield from _uses_facts(where, str(job["uses"]))
    for step in map(as_object, as_list(job.get("steps"))):
        yield from _step_facts(where, step)


def _step_facts(where: str, step: dict[str, Any]) -> Iterator[tuple[str, str]]:
    shown = str(step.get("name") or step.get("uses") or str(step.get("run", "")).strip().split("\n")[0])[:80]
    if step.get("continue-on-error", False) is not False:
        yield f"{where}: step {shown!r} sets continue-on-error", "a failed check counts as passed"
    if "uses" in step:
        yield from _uses_facts(where, str(step["uses"]))
        given = as_object(step.get("with"))
        if "checkout" in str(step["uses"]) and ("ref" in given or "repository" in given):
            source = f"{given.get('repository', '')} {given.get('ref', '')}".strip()
            yield f"{where}: checks out {source}", "the job works on other code than its trigger's"
        if "checkout" in str(step["uses"]) and given.get("persist-credentials", True) is not False:
            yield f"{where}: keeps the token in the checkout", "everything that the job runs can read it"
    if _INJECTION.search(str(step.get("run", ""))):
        yield f"{where}: step {shown!r} inserts an expression into a script", "text of a stranger would run as code"
    if "shell" in step:
        yield (
            f"{where}: step {shown!r} uses the shell {step['shell']}",
            "another program runs the script, and may ignore errors",
        )


def _uses_facts(where: str, uses: str) -> Iterator[tuple[str, str]]:
    yield f"{where}: runs {uses}", "foreign code runs with the job's rights"
    if not _PINNED.fullmatch(uses):
        yield f"{where}: {uses} is not pinned by commit", "its owner can change what runs at any time"


def _strings(node: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Yield every place that a secret or the token reaches."""
    if is_object(node):
        for key, value in node.items():
            yield from _strings(value, f"{path}.{key}" if path else str(key))
    elif is_list(node):
        for value in node:
            yield from _strings(value, path)
    elif isinstance(node, str):
        for found in _SECRET.finditer(node) if "${{" in node or path.endswith("if") else ():
            yield f"{path} reads {found.group()}", "a secret or a token reaches this place"


def _permissions(value: Any) -> Iterator[tuple[str, str]]:
    """Yield (scope, level) for every right, each level including the lower ones."""
    if value is None:
        value = "write-all"
    if isinstance(value, str):
        value = {"everything": value.removesuffix("-all")}
    for scope, level in as_object(value).items():
        for lower, rank in _LEVELS.items():
            if 0 < rank <= _LEVELS.get(str(level), 2):
                yield str(scope), lower


def _triggers(workflow: dict[str, Any]) -> set[str]:
    value = workflow.get("on")
    return set(map(str, value)) if is_object(value) or is_list(value) else {str(value)}


def _kept(content: bytes) -> set[tuple[str, str]]:
    """Return the jobs, steps and triggers that the gate would miss if they went."""
    workflow = _load(content) or {}
    kept = {(f"trigger {name}", "checks no longer run") for name in _triggers(workflow)}
    kept |= (
        {("restriction of the default token", "jobs get the repository's default rights")}
        if "permissions" in workflow
        else set()
    )
    for name, job in as_object(workflow.get("jobs")).items():
        kept.add((f"job {name}", "what it checked is no longer checked"))
        for step in map(as_object, as_list(as_object(job).get("steps"))):
            if "run" in step:
                first = str(step["run"]).strip().split("\n")[0][:80]
                kept.add((f"step {first!r} of job {name}", "what it checked is no longer checked"))
    return kept
