"""The result of a run: verdict, missing labels and everything that was found, as JSON and as a Markdown comment."""

import html
import re
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from stack_gate.boundary.approvals import Label, class_digests
from stack_gate.boundary.label_approvals import MARK
from stack_gate.diff.stacks import AssetChange
from stack_gate.findings import CLASSES, Finding, label
from stack_gate.rules.cost import Cost

PASS, NEEDS_LABEL, COULD_NOT_RUN = 0, 1, 2
MAX_CHARACTERS = 60_000  # GitHub accepts 65,536
MAX_VALUES = 20
NOT_ISOLATED = (
    "The pull request's code ran without isolation, since this machine offers none: it could read this account's files "
    "and processes, and could have changed this report."
)
IMPACTS = {
    "WILL_DESTROY": "destroyed",
    "WILL_ORPHAN": "left behind",
    "WILL_REPLACE": "replaced",
    "MAY_REPLACE": "perhaps replaced",
    "WILL_CREATE": "created",
    "WILL_UPDATE": "updated in place",
    "NO_CHANGE": "changed only in the template",
}
_MARKUP = re.compile(r"([\\`*_\[\]|#~!])")


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What a change does to one stack.

    `impacts` are resources by CDK's impact, `values` the changed values of each, `redeploys` chains of resources that
    are deployed again. `before` or `after` is None for a stack that the change adds or removes.
    """

    name: str
    findings: list[Finding]
    impacts: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    values: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    redeploys: list[list[str]] = field(default_factory=list[list[str]])
    assets: list[AssetChange] = field(default_factory=list[AssetChange])
    before: Cost | None = None
    after: Cost | None = None
    permissions_broadened: bool = False

    def as_json(self) -> dict[str, Any]:
        return {
            "stack": self.name,
            "findings": [finding.as_json() for finding in self.findings],
            "resources": self.impacts,
            "values": self.values,
            "redeploys": self.redeploys,
            "assets": [asdict(change) for change in self.assets],
            "cost_before": asdict(self.before) if self.before else None,
            "cost_after": asdict(self.after) if self.after else None,
            "cdk_says_permissions_broadened": self.permissions_broadened,
        }


@dataclass(frozen=True, kw_only=True)
class Report:
    """Both revisions, the classes that approvals cover, the comparisons by environment, and findings of class `gate`.

    `isolated` says whether the revisions' code ran in a sandbox, `labels` what each label on the pull request covers.
    """

    base: str
    head: str
    allowed: frozenset[str]
    environments: dict[str, list[Comparison]]
    gate_findings: tuple[Finding, ...] = ()
    isolated: bool = True
    labels: dict[str, Label] = field(default_factory=dict[str, Label])
    seconds: float = 0.0

    @property
    def findings(self) -> list[Finding]:
        """Every finding of every environment, after those of class `gate`."""
        found = [finding for listed in self.environments.values() for item in listed for finding in item.findings]
        return [*self.gate_findings, *found]

    @property
    def classes(self) -> list[str]:
        """Classes with findings, in the order of CLASSES."""
        return _ordered({finding.class_name for finding in self.findings})

    @property
    def missing(self) -> list[str]:
        """Classes with findings that no label allows."""
        return [name for name in self.classes if name not in self.allowed]

    @property
    def exit_code(self) -> int:
        return NEEDS_LABEL if self.missing else PASS

    def as_json(self) -> dict[str, Any]:
        return {
            "verdict": "needs-label" if self.missing else "pass",
            "exit_code": self.exit_code,
            "base": self.base,
            "head": self.head,
            "classes": self.classes,
            "labels_needed": [label(name) for name in self.classes],
            "labels_missing": [label(name) for name in self.missing],
            "allowed": _ordered(self.allowed),
            "digests": class_digests(self.findings),
            "label_approvals": {name: asdict(given) for name, given in self.labels.items()},
            "isolated": self.isolated,
            "gate_findings": [finding.as_json() for finding in self.gate_findings],
            "seconds": round(self.seconds, 1),
            "environments": {
                name: [comparison.as_json() for comparison in listed] for name, listed in self.environments.items()
            },
        }

    def as_markdown(self) -> str:
        """Return the comment, verdict first, cut with a note if it is too long for GitHub."""
        text = "\n".join([MARK, *_summary_lines(self), *_environment_lines(self)]) + "\n"
        if len(text) <= MAX_CHARACTERS:
            return text
        kept = text[:MAX_CHARACTERS].rsplit("\n", 1)[0]
        return f"{kept}\n\n</details>\n\nCut here: the whole report is in the job's artifact.\n"


def _ordered(names: Iterable[str]) -> list[str]:
    given = set(names)
    return [name for name in CLASSES if name in given]


def _summary_lines(report: Report) -> Iterator[str]:
    if report.missing:
        labels = ", ".join(f"`{label(name)}`" for name in report.missing)
        yield f"## Stack gate: needs {'a label' if len(report.missing) == 1 else 'labels'}: {labels}\n"
    else:
        yield "## Stack gate: pass\n"
    if not report.isolated:
        yield f"**{NOT_ISOLATED}**\n"
    for name in report.classes:
        count = len({(finding.resource, finding.what) for finding in report.findings if finding.class_name == name})
        state = "approved" if name in report.allowed else "**needs its label**"
        if name not in report.allowed and name in report.labels:
            state = "**needs its label again**: the findings are not those that it was added for"
        yield f"- `{label(name)}` ({count}): {CLASSES[name]}; {state}"
    if not report.classes:
        yield "No data is lost, no one gains access, no protection is weakened, and the stack costs no more."
    yield ""
    yield "| environment | stack | idle, before → after | at most, before → after |"
    yield "|---|---|---|---|"
    for name, listed in report.environments.items():
        for comparison in listed:
            idle, peak = _cost_cell(comparison, "idle"), _cost_cell(comparison, "peak")
            yield f"| {name} | {comparison.name} | {idle} | {peak} |"
    yield ""


def _cost_cell(comparison: Comparison, name: str) -> str:
    before, after = (
        "none" if cost is None else f"${getattr(cost, name):.3f}/h" for cost in (comparison.before, comparison.after)
    )
    return f"{before}, unchanged" if before == after else f"**{before} → {after}**"


def _environment_lines(report: Report) -> Iterator[str]:
    """Yield the findings of class `gate`, and one section for each group of environments that change alike."""
    lines = [line for finding in report.gate_findings for line in _finding_lines(finding)]
    yield from _section(f"**`{label('gate')}`**", lines)
    groups: dict[str, list[str]] = {}
    for environment, listed in report.environments.items():
        text = "\n".join(line for comparison in listed for line in _stack_lines(comparison))
        groups.setdefault(text, []).append(environment)
    for text, environments in groups.items():
        yield f"### {' and '.join(environments)}\n"
        yield text
    yield f"<sub>{_escape(report.base)} → {_escape(report.head)}, {report.seconds:.0f} s</sub>"


def _stack_lines(comparison: Comparison) -> Iterator[str]:
    if not comparison.impacts and not comparison.findings and not comparison.assets:
        yield "No change.\n"
        return
    for name in CLASSES:
        findings = [finding for finding in comparison.findings if finding.class_name == name]
        yield from _section(f"**`{label(name)}`**", [line for finding in findings for line in _finding_lines(finding)])
    chains = [f"- {' → '.join(map(_escape, chain))}" for chain in comparison.redeploys]
    yield from _section("**Will redeploy**", chains)
    for asset in comparison.assets:
        yield from _section(f"**Files of {_escape(asset.name)}**", [f"- {_escape(line)}" for line in asset.lines()])
    count = sum(len(names) for names in comparison.impacts.values())
    if count:
        yield f"<details><summary>Every changed resource ({count})</summary>\n"
        for impact, words in IMPACTS.items():
            for name in comparison.impacts.get(impact, []):
                yield f"- {words}: {_escape(name)}"
                values = comparison.values.get(name, [])
                yield from (f"  - {_escape(value)}" for value in values[:MAX_VALUES])
                if len(values) > MAX_VALUES:
                    yield f"  - and {len(values) - MAX_VALUES} more"
        yield "\n</details>\n"


def _section(title: str, lines: list[str]) -> Iterator[str]:
    if lines:
        yield f"{title}\n"
        yield from lines
        yield ""


def _finding_lines(finding: Finding) -> Iterator[str]:
    where = f"**{_escape(finding.resource)}**: " if finding.resource else ""
    yield f"- {where}{_escape(finding.what)}. *{_escape(finding.why)}*"
    if finding.example:
        yield f"  <br>newly possible: {_escape(finding.example)}"


def _escape(text: str) -> str:
    """Return text from templates and file names on one line, without markup and without mentioning GitHub users."""
    return _MARKUP.sub(r"\\\1", html.escape(text.replace("\n", " "), quote=False)).replace("@", "@\u200b")
