"""What a repository on GitHub needs for the workflows, compared with what it has.

Names come from where they are defined: labels from the gate's classes, environments from cdk.json.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import quote

from repository_setup.github import GitHub
from stack_gate.findings import CLASSES, label

RULESET = "musicgen"
REQUIRED_CHECKS = ("lint", "test", "gate")  # names of jobs in pr.yml and pr-gate.yml
GITHUB_ACTIONS = 15368  # GitHub's number of the app whose checks count: others could report the same names
COLOUR = "b60205"
MAX_DESCRIPTION = 100  # characters, GitHub's limit for labels


@dataclass(frozen=True)
class Wanted:
    """What the command line and the repository's files ask for."""

    environments: Sequence[str]
    reviewers: Sequence[Mapping[str, Any]]  # `{"type": "User" or "Team", "id": …}`
    branch: str
    regions: Mapping[str, str]
    roles: Mapping[str, str]  # ARN by the name of CI's stack output
    drift: bool


@dataclass(frozen=True)
class Change:
    """One call that brings the repository closer to what it needs, and the sentence about it."""

    what: str
    method: str
    path: str
    body: Mapping[str, Any]


def changes(github: GitHub, wanted: Wanted) -> Iterator[Change]:
    """Yield what is missing or different; nothing for a repository that is set up."""
    yield from _labels(github)
    for name in wanted.environments:
        yield from _environment(github, name, wanted, deploys=True)
        yield from _environment(github, f"{name}-read", wanted, deploys=False)
    if wanted.drift:
        yield from _variable(github, "", "", "DRIFT", "on")
    yield from _ruleset(github)


def _labels(github: GitHub) -> Iterator[Change]:
    present = {str(item["name"]).lower(): item for item in github.pages("/labels")}
    for name, covers in CLASSES.items():
        description = f"approves: {covers}"[:MAX_DESCRIPTION]
        found = present.get(label(name))
        if found is None:
            body = {"name": label(name), "color": COLOUR, "description": description}
            yield Change(f"create the label {label(name)}", "POST", "/labels", body)
        elif found.get("description") != description:
            path = f"/labels/{quote(label(name), safe='')}"
            yield Change(f"describe the label {label(name)}", "PATCH", path, {"description": description})


def _environment(github: GitHub, name: str, wanted: Wanted, *, deploys: bool) -> Iterator[Change]:
    """Yield the environment itself, who approves and from where, and its variables."""
    path = f"/environments/{name}"
    found = github.find(path) or {}
    policy = {"protected_branches": False, "custom_branch_policies": True} if deploys else None
    approvers = _approvers(found)
    wanted_approvers = {(str(item["type"]), int(item["id"])) for item in wanted.reviewers} if deploys else set[Any]()
    if not found or found.get("deployment_branch_policy") != policy or not wanted_approvers <= approvers:
        together = sorted(approvers | wanted_approvers)
        # GitHub resets what the call leaves out.
        body: dict[str, Any] = {
            "deployment_branch_policy": policy,
            "reviewers": [{"type": kind, "id": number} for kind, number in together],
            "wait_timer": _wait_minutes(found),
        }
        approved = f"approved by one of {len(together)}" if together else "without approval"
        branch = f", from {wanted.branch} only" if deploys else ""
        yield Change(f"set up the environment {name}, {approved}{branch}", "PUT", path, body)
    if deploys:
        policies = github.find(f"{path}/deployment-branch-policies") if found else None
        listed = cast(list[dict[str, Any]], (policies or {}).get("branch_policies", []))
        if wanted.branch not in {item.get("name") for item in listed}:
            branch = {"name": wanted.branch, "type": "branch"}
            what = f"allow {name} to be deployed from {wanted.branch}"
            yield Change(what, "POST", f"{path}/deployment-branch-policies", branch)
    environment = name if deploys else name.removesuffix("-read")
    yield from _variable(github, path, name, "AWS_REGION", wanted.regions[environment])
    output = output_name(environment, "Deploy" if deploys else "Read")
    if output in wanted.roles:
        variable = "AWS_DEPLOY_ROLE_ARN" if deploys else "AWS_READ_ROLE_ARN"
        yield from _variable(github, path, name, variable, wanted.roles[output])


def output_name(environment: str, kind: str) -> str:
    """Return the name of CI's stack output (infra/ci/stack.py) with the ARN of a role."""
    return "".join(part.capitalize() for part in environment.split("-")) + f"{kind}RoleArn"


def _approvers(environment: Mapping[str, Any]) -> set[tuple[str, int]]:
    rules = cast(list[dict[str, Any]], environment.get("protection_rules") or [])
    found = [item for rule in rules for item in cast(list[dict[str, Any]], rule.get("reviewers") or [])]
    return {(str(item["type"]), int(item["reviewer"]["id"])) for item in found}


def _wait_minutes(environment: Mapping[str, Any]) -> int:
    rules = cast(list[dict[str, Any]], environment.get("protection_rules") or [])
    return max((int(rule.get("wait_timer") or 0) for rule in rules), default=0)


def _variable(github: GitHub, path: str, where: str, name: str, value: str) -> Iterator[Change]:
    """Yield a variable of an environment, or, with an empty `path`, of the repository."""
    base = f"{path}/variables" if path else "/actions/variables"
    found = github.find(f"{base}/{name}")
    if found is not None and found.get("value") == value:
        return
    what = f"set the variable {name} of {where or 'the repository'} to {value}"
    body = {"name": name, "value": value}
    yield Change(what, *(("POST", base) if found is None else ("PATCH", f"{base}/{name}")), body)


def _ruleset(github: GitHub) -> Iterator[Change]:
    """Yield the rules of the default branch: reviews by code owners, and the three checks.

    Other rules that people have added to the ruleset are kept.
    """
    wanted = ruleset()
    for item in github.pages("/rulesets"):
        if item.get("name") != RULESET or item.get("source_type", "Repository") != "Repository":
            continue
        path = f"/rulesets/{int(item['id'])}"
        found = github.find(path) or {}
        kinds = {rule["type"] for rule in wanted["rules"]}
        rules = cast(list[dict[str, Any]], found.get("rules") or [])
        missing = [rule for rule in wanted["rules"] if not any(_covers(given, rule) for given in rules)]
        if missing or found.get("enforcement") != "active":
            others = [rule for rule in rules if rule.get("type") not in kinds]
            body = {**wanted, "rules": [*wanted["rules"], *others]}
            yield Change("repair the rules of the default branch", "PUT", path, body)
        return
    yield Change("protect the default branch: reviews by owners, lint, test and gate", "POST", "/rulesets", wanted)


def _covers(given: Any, wanted: Any) -> bool:
    """Return whether `given` has everything that is in `wanted`, and perhaps more."""
    if isinstance(wanted, dict):
        pairs = cast(dict[str, Any], wanted).items()
        return isinstance(given, dict) and all(key in given and _covers(given[key], value) for key, value in pairs)
    if isinstance(wanted, list):
        items = cast(list[Any], wanted)
        return isinstance(given, list) and all(
            any(_covers(one, item) for one in cast(list[Any], given)) for item in items
        )
    return given == wanted


def ruleset() -> dict[str, Any]:
    """Return the ruleset, as GitHub's REST API takes it (https://docs.github.com/rest/repos/rules)."""
    checks = [{"context": name, "integration_id": GITHUB_ACTIONS} for name in REQUIRED_CHECKS]
    review = {
        "required_approving_review_count": 1,
        "dismiss_stale_reviews_on_push": True,
        "require_code_owner_review": True,
        "require_last_push_approval": True,
        "required_review_thread_resolution": False,
    }
    required = {"strict_required_status_checks_policy": True, "required_status_checks": checks}
    return {
        "name": RULESET,
        "target": "branch",
        "enforcement": "active",
        "conditions": {"ref_name": {"include": ["~DEFAULT_BRANCH"], "exclude": []}},
        "rules": [
            {"type": "deletion"},
            {"type": "non_fast_forward"},
            {"type": "pull_request", "parameters": review},
            {"type": "required_status_checks", "parameters": required},
        ],
    }


def with_owners(codeowners: str, owners: Sequence[str]) -> str:
    """Return the file with these owners in place of the placeholder, and without the comment about it."""
    lines = [line for line in codeowners.splitlines() if not (line.startswith("#") and "@maintainers" in line)]
    return "\n".join(re.sub(r"@maintainers(?=\s|$)", " ".join(owners), line) for line in lines) + "\n"
