"""The result of a run: verdict, missing labels and everything that was found, as JSON and as a Markdown comment."""

import html
import re
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from stack_gate.boundary.approvals import Label, class_digests
from stack_gate.boundary.label_approvals import MARK
from stack_gate.checks.forecast import LOAD, LOAD_IN_WORDS, Forecast, describe_change
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
GRAVE = ("WILL_DESTROY", "WILL_ORPHAN", "WILL_REPLACE", "MAY_REPLACE")
_MARKUP = re.compile(r"([\\`*_\[\]|#~!])")


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What a change does to one stack.

    `impacts` are resources by CDK's impact, `values` the changed values of each, `images` the container images that
    change, `redeploys` chains of resources that are deployed again. `before` or `after`, and the planner's forecasts,
    are None for a stack that the change adds or removes.
    """

    name: str
    findings: list[Finding]
    impacts: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    values: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    images: list[str] = field(default_factory=list[str])
    redeploys: list[list[str]] = field(default_factory=list[list[str]])
    assets: list[AssetChange] = field(default_factory=list[AssetChange])
    before: Cost | None = None
    after: Cost | None = None
    forecast_before: Forecast | None = None
    forecast_after: Forecast | None = None
    permissions_broadened: bool = False

    def as_json(self) -> dict[str, Any]:
        return {
            "stack": self.name,
            "findings": [finding.as_json() for finding in self.findings],
            "resources": self.impacts,
            "values": self.values,
            "images": self.images,
            "redeploys": self.redeploys,
            "assets": [asdict(change) for change in self.assets],
            "cost_before": asdict(self.before) if self.before else None,
            "cost_after": asdict(self.after) if self.after else None,
            "forecast_before": asdict(self.forecast_before) if self.forecast_before else None,
            "forecast_after": asdict(self.forecast_after) if self.forecast_after else None,
            "cdk_says_permissions_broadened": self.permissions_broadened,
        }


@dataclass(frozen=True, kw_only=True)
class Report:
    """Both revisions, the classes that approvals cover, the comparisons by environment, and findings of class `gate`.

    `isolated` says whether the revisions' code ran in a sandbox, `notes` what could not be compared, `labels` what each
    label on the pull request covers.
    """

    base: str
    head: str
    allowed: frozenset[str]
    environments: dict[str, list[Comparison]]
    gate_findings: tuple[Finding, ...] = ()
    isolated: bool = True
    notes: tuple[str, ...] = ()
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
            "not_compared": list(self.notes),
            "load": LOAD,
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
    if not report.classes and _nothing_differs(report):
        yield "The stacks do not differ, nor does what judges and deploys them."
    elif not report.classes:
        yield (
            "No rule found lost data, new access, weaker protection or higher cost. "
            "docs/gate.md lists what the rules do not see."
        )
    yield ""
    yield from _first_lines(report)
    yield from _cost_lines(report)
    for note in report.notes:
        yield f"{_escape(note)}\n"


def _nothing_differs(report: Report) -> bool:
    every = [comparison for listed in report.environments.values() for comparison in listed]
    return not any(comparison.impacts or comparison.assets for comparison in every)


def _first_lines(report: Report) -> Iterator[str]:
    """Yield what a reviewer should see first, whatever the verdict: what is destroyed or replaced, and other images."""
    groups: dict[str, list[str]] = {}
    for environment, listed in report.environments.items():
        for comparison in listed:
            for impact in GRAVE:
                if comparison.impacts.get(impact):
                    names = ", ".join(map(_escape, comparison.impacts[impact]))
                    groups.setdefault(f"**{IMPACTS[impact]}**: {names}", []).append(environment)
            for line in comparison.images:
                groups.setdefault(f"**another image**: {_escape(line)}", []).append(environment)
    order = [*(IMPACTS[impact] for impact in GRAVE), "another image"]
    lines = sorted(groups, key=lambda line: order.index(line.removeprefix("**").partition("**")[0]))
    yield from (f"- {line} ({' and '.join(dict.fromkeys(groups[line]))})" for line in lines)
    if lines:
        yield ""


def _cost_lines(report: Report) -> Iterator[str]:
    """Yield the table of costs, and of the planner's forecasts if there are any."""
    every = [comparison for listed in report.environments.values() for comparison in listed]
    planned = any(comparison.forecast_before or comparison.forecast_after for comparison in every)
    titles = [
        "environment",
        "stack",
        "idle",
        "at most",
        *(["a month\\*", "95 % have a result within\\*"] if planned else []),
    ]
    yield f"| {' | '.join(titles)} |"
    yield "|---" * len(titles) + "|"
    for name, listed in report.environments.items():
        for comparison in listed:
            cells = [name, comparison.name, _cost_cell(comparison, "idle"), _cost_cell(comparison, "peak")]
            if planned:
                cells += describe_change(comparison.forecast_before, comparison.forecast_after)
            yield f"| {' | '.join(cells)} |"
    yield ""
    if planned:
        yield f"\\* Estimated by the planner for {LOAD_IN_WORDS}; instances only.\n"


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
