"""One run of the gate: snapshot both revisions, compare their stacks, report."""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from stack_gate import GateError
from stack_gate.boundary.approvals import Approvals, read_acceptances
from stack_gate.boundary.deployment import find_deployment_changes
from stack_gate.boundary.files import ACCEPTANCES, find_gate_changes
from stack_gate.boundary.launch import check_own_files, remember_own_files
from stack_gate.checks.lint import CONFIGURATIONS
from stack_gate.checks.outcomes import Outcome, run_checks
from stack_gate.collect import sandbox
from stack_gate.collect.git import Repository
from stack_gate.collect.snapshots import Snapshot, take_snapshot
from stack_gate.diff.properties import ValueChange, changed_values, leaves
from stack_gate.diff.stacks import Pair, StackDiff, changed_assets, diff_stacks, pair_up
from stack_gate.findings import digest_of
from stack_gate.report.report import Comparison, Report
from stack_gate.rules.cost import Prices, hourly_cost
from stack_gate.rules.evaluate import evaluate
from stack_gate.rules.tables import all_rules, known_types, type_facts
from stack_gate.template import Json, Stack, canonical

IMAGE_KEYS = ("Image", "ImageUri", "RepositoryUri")
Checks = Callable[[Sequence[Pair]], tuple[list[Outcome], list[str]]]


def run(
    repository: Repository,
    cache: Path,
    *,
    base: str,
    head: str,
    approvals: Approvals,
    deployed: Path | None = None,
    environment: str | None = None,
    require_isolation: bool = False,
) -> Report:
    """Compare two revisions. `deployed` is a template from an account that replaces the base of one environment.

    Raise GateError if they cannot be compared. Everything that judges is loaded before the head's code runs.
    """
    started = time.monotonic()
    isolated = sandbox.isolation() is not None
    if require_isolation and not isolated:
        raise GateError("isolation is required, and this machine offers none (unshare with user or root namespaces)")
    remember_own_files()
    load_tables()
    trees = [repository.tree(base), repository.tree(head)]
    acceptances = read_acceptances(repository.read(trees[0], ACCEPTANCES))
    gate_findings = find_gate_changes(repository, *trees)
    before = take_snapshot(trees[0], repository, cache)
    after = take_snapshot(trees[1], repository, cache)
    check_own_files()
    if deployed is not None:
        before = _deployed_snapshot(deployed, environment, after)
    configuration = {
        name: content.decode(errors="replace")
        for name in CONFIGURATIONS
        if (content := repository.read(trees[0], name)) is not None
    }
    environments, notes = compare_snapshots(
        before, after, environment, checks=lambda pairs: run_checks(pairs, configuration, cache)
    )
    check_own_files()
    found = [finding for listed in environments.values() for item in listed for finding in item.findings]
    return Report(
        base=deployed.name if deployed else trees[0].description,
        head=trees[1].description,
        allowed=replace(approvals, acceptances=acceptances).covered([*gate_findings, *found]),
        environments=environments,
        gate_findings=tuple(gate_findings),
        isolated=isolated,
        notes=tuple(notes),
        labels=dict(approvals.labels or {}),
        seconds=time.monotonic() - started,
    )


def load_tables() -> None:
    """Read every table of the rules, which stay in memory."""
    for name in ("", *known_types()):
        all_rules(name)
        type_facts(name)


def compare_snapshots(
    base: Snapshot, head: Snapshot, only: str | None = None, *, checks: Checks | None = None
) -> tuple[dict[str, list[Comparison]], list[str]]:
    """Compare every environment, or `only` one, in a single run of CDK's differ, and by `checks` if given.

    Return the comparisons by environment, and sentences about what could not be compared.
    """
    names = [name for name in dict.fromkeys([*head.environments, *base.environments]) if only in (None, name)]
    if not names:
        raise GateError(f"environment must be one of {', '.join(head.environments)}, got {only}")
    pairs = {name: pair_up(base.environments.get(name, []), head.environments.get(name, [])) for name in names}
    price_tables: list[Prices] = [table for table in (head.prices, base.prices) if table]
    every_pair = [pair for listed in pairs.values() for pair in listed]
    outcomes, notes = checks(every_pair) if checks else ([Outcome()] * len(every_pair), [])
    compared = zip(compare(every_pair, price_tables), outcomes, strict=True)
    found = {
        name: [_with_digests(name, pair, _with_outcome(*next(compared))) for pair in listed]
        for name, listed in pairs.items()
    }
    return found, notes


def _with_outcome(comparison: Comparison, outcome: Outcome) -> Comparison:
    findings = [*comparison.findings, *outcome.findings]
    return replace(comparison, findings=findings, forecast_before=outcome.before, forecast_after=outcome.after)


def compare(pairs: Sequence[Pair], price_tables: Sequence[Prices]) -> list[Comparison]:
    """Evaluate every rule on each pair. Costs are shown by the first price table."""
    return [_compare(diff, price_tables) for diff in diff_stacks(pairs)]


def _compare(diff: StackDiff, price_tables: Sequence[Prices]) -> Comparison:
    base, head = diff.base, diff.head
    prices: Prices = price_tables[0] if price_tables else {}
    names: dict[str, str] = {}
    impacts: dict[str, list[str]] = {}
    for logical_id, change in diff.changes.items():
        stack = head if logical_id in head.resources else base
        names[logical_id] = f"{stack.display(logical_id)} ({stack.type_of(logical_id).removeprefix('AWS::')})"
        impacts.setdefault(change.impact, []).append(names[logical_id])
    in_both = [name for name in names if name in base.resources and name in head.resources]
    values = {name: changed_values(_shown(base, name), _shown(head, name)) for name in in_both}
    findings = [*evaluate(diff, price_tables), *find_deployment_changes(base, head, is_new=diff.is_new)]
    return Comparison(
        name=head.name,
        findings=[replace(finding, what=_with_paths(finding.what, diff)) for finding in findings],
        impacts={impact: sorted(listed) for impact, listed in sorted(impacts.items())},
        values={names[name]: [_with_paths(value, diff) for value in listed] for name, listed in values.items()},
        images=[_with_paths(line, diff) for line in _changed_images(diff)],
        redeploys=[[head.display(name) for name in chain] for chain in diff.redeploy_chains()],
        assets=changed_assets(base, head),
        before=None if diff.is_new else hourly_cost(base, prices),
        after=None if diff.is_removed else hourly_cost(head, prices),
        permissions_broadened=diff.permissions_broadened,
    )


def _shown(stack: Stack, logical_id: str) -> dict[str, Json]:
    """Return a resource's properties and the attributes that say when and how it exists."""
    attributes = {
        key: value
        for key, value in stack.resources[logical_id].items()
        if key not in ("Type", "Properties", "Metadata")
    }
    return {**attributes, **stack.properties(logical_id)}


def _with_paths(text: str, diff: StackDiff) -> str:
    """Return a text with construct paths in place of the logical ids of either side."""
    return diff.base.display_references(diff.head.display_references(text))


def _changed_images(diff: StackDiff) -> Iterator[str]:
    """Yield each container image that is new or another, whatever the rules say of it."""
    for logical_id in diff.changes:
        if logical_id in diff.head.resources:
            change = ValueChange((), diff.base.properties(logical_id), diff.head.properties(logical_id))
            for leaf in leaves(change):
                if leaf.path[-1:] and leaf.path[-1] in IMAGE_KEYS and leaf.new is not None:
                    yield f"{diff.head.display(logical_id)}: {leaf.describe().partition(': ')[2]}"


def _with_digests(environment: str, pair: Pair, comparison: Comparison) -> Comparison:
    """Return the comparison with a digest for each finding.

    A text shows long values in part only. So the digest covers all of the resources that a finding names, on both
    sides, or all of the rest of the template if it names none.
    """
    versions: dict[str, str] = {}
    for side in (pair.base, pair.head):
        for logical_id, resource in side.resources.items():
            shown = side.display(logical_id)
            versions[shown] = f"{versions.get(shown, '')}{logical_id}{canonical(resource)}"
    rest = canonical(
        [{**side.template, "Resources": None, "deployment": side.deployment} for side in (pair.base, pair.head)]
    )
    findings = [
        replace(
            finding,
            digest=digest_of(
                finding.class_name,
                environment,
                comparison.name,
                *(finding.resource, finding.what, finding.why, finding.example),
                versions.get(finding.resource, rest),
            ),
        )
        for finding in comparison.findings
    ]
    return replace(comparison, findings=findings)


def _deployed_snapshot(file: Path, environment: str | None, head: Snapshot) -> Snapshot:
    """Return the head's snapshot with a deployed template in place of the environment's only stack."""
    if environment is None or len(head.environments.get(environment, [])) != 1:
        raise GateError(f"--deployed needs --env with an environment that has one stack, got {environment}")
    try:
        template = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise GateError(f"the deployed template could not be read as JSON: {error}") from error
    (stack,) = head.environments[environment]
    deployed = replace(stack, template=template.get("TemplateBody", template), termination_protection=False)
    return Snapshot(environments={environment: [deployed]}, prices=head.prices)
