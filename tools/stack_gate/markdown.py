"""The comment on a pull request: the verdict first, then what to look at, the rest folded."""

import html
import re
from collections.abc import Iterator

from stack_gate.assets import AssetChange
from stack_gate.comparison import Comparison
from stack_gate.findings import CLASSES, Finding, label
from stack_gate.report import Report

MARK = "<!-- stack-gate -->"  # by which the comment is found again and updated
MOST_CHARACTERS = 60_000  # GitHub takes 65,536
MOST_VALUES = 20
IMPACTS = {
    "WILL_DESTROY": "destroyed",
    "WILL_ORPHAN": "left behind",
    "WILL_REPLACE": "replaced",
    "MAY_REPLACE": "perhaps replaced",
    "WILL_CREATE": "created",
    "WILL_UPDATE": "updated in place",
    "NO_CHANGE": "changed in the template alone",
}
_SPECIAL = re.compile(r"([\\`*_\[\]|#~!])")


def markdown(report: Report) -> str:
    """The whole comment; cut, and saying so, where it would be longer than GitHub takes."""
    text = "\n".join([MARK, *_verdict(report), *_body(report)]) + "\n"
    if len(text) <= MOST_CHARACTERS:
        return text
    kept = text[:MOST_CHARACTERS].rsplit("\n", 1)[0]
    return f"{kept}\n\n</details>\n\nCut here: the whole report is in the job's artifact.\n"


def _verdict(report: Report) -> Iterator[str]:
    if report.missing:
        labels = ", ".join(f"`{label(name)}`" for name in report.missing)
        yield f"## Stack gate: needs {'a label' if len(report.missing) == 1 else 'labels'}: {labels}"
    else:
        yield "## Stack gate: pass"
    yield ""
    if report.own_changes:
        folders = sorted({name.rpartition("/")[0] for name in report.own_changes})
        yield f"**This change also alters the gate itself**, under {', '.join(f'`{name}`' for name in folders)}."
        yield ""
    yield from _classes(report)
    yield from _costs(report)


def _classes(report: Report) -> Iterator[str]:
    if not report.classes:
        yield "Data stays, nobody may do anything new, nothing is weakened, and the stack costs no more."
        yield ""
        return
    for name in report.classes:
        count = len({(found.resource, found.what) for found in report.findings if found.class_name == name})
        state = "allowed by its label" if name in report.allowed else "**needs its label**"
        yield f"- `{label(name)}` ({count}): {CLASSES[name]}; {state}"
    yield ""


def _costs(report: Report) -> Iterator[str]:
    yield "| environment | stack | idle, before → after | at most, before → after |"
    yield "|---|---|---|---|"
    for name, listed in report.environments.items():
        for comparison in listed:
            yield f"| {name} | {comparison.name} | {_rate(comparison, 'idle')} | {_rate(comparison, 'peak')} |"
    yield ""


def _rate(comparison: Comparison, name: str) -> str:
    before, after = (
        "none" if cost is None else f"${getattr(cost, name):.3f}/h" for cost in (comparison.before, comparison.after)
    )
    return f"{before}, unchanged" if before == after else f"**{before} → {after}**"


def _body(report: Report) -> Iterator[str]:
    groups: dict[str, list[str]] = {}
    for environment, listed in report.environments.items():
        text = "\n".join(line for comparison in listed for line in _stack(comparison))
        groups.setdefault(text, []).append(environment)
    for text, environments in groups.items():
        yield f"### {' and '.join(environments)}"
        yield ""
        yield text
    yield f"<sub>{_plain(report.base)} → {_plain(report.head)}, {report.seconds:.0f} s</sub>"


def _stack(comparison: Comparison) -> Iterator[str]:
    if not comparison.impacts and not comparison.findings and not comparison.assets:
        yield "No change.\n"
        return
    for name in CLASSES:
        yield from _findings(name, [found for found in comparison.findings if found.class_name == name])
    yield from _redeploys(comparison.redeploys)
    yield from _assets(comparison.assets)
    yield from _impacts(comparison)


def _findings(class_name: str, found: list[Finding]) -> Iterator[str]:
    if not found:
        return
    yield f"**`{label(class_name)}`**"
    yield ""
    for finding in found:
        where = f"**{_plain(finding.resource)}**: " if finding.resource else ""
        yield f"- {where}{_plain(finding.what)}. *{_plain(finding.why)}*"
        if finding.example:
            yield f"  <br>newly possible: {_plain(finding.example)}"
    yield ""


def _redeploys(chains: list[list[str]]) -> Iterator[str]:
    if not chains:
        return
    yield "**Will redeploy**"
    yield ""
    for chain in chains:
        yield f"- {' → '.join(_plain(name) for name in chain)}"
    yield ""


def _assets(changes: list[AssetChange]) -> Iterator[str]:
    for change in changes:
        yield f"**Files of {_plain(change.name)}**"
        yield ""
        for line in change.lines():
            yield f"- {_plain(line)}"
        yield ""


def _impacts(comparison: Comparison) -> Iterator[str]:
    """The difference itself, folded."""
    count = sum(len(names) for names in comparison.impacts.values())
    if not count:
        return
    yield f"<details><summary>Every changed resource ({count})</summary>"
    yield ""
    for impact, words in IMPACTS.items():
        for name in comparison.impacts.get(impact, []):
            yield f"- {words}: {_plain(name)}"
            yield from _values(comparison.values.get(name, []))
    yield ""
    yield "</details>"
    yield ""


def _values(values: list[str]) -> Iterator[str]:
    for value in values[:MOST_VALUES]:
        yield f"  - {_plain(value)}"
    if len(values) > MOST_VALUES:
        yield f"  - and {len(values) - MOST_VALUES} more"


def _plain(text: str) -> str:
    """Text from templates and file names as it is: no markup, no mention of people, one line."""
    return _SPECIAL.sub(r"\\\1", html.escape(text.replace("\n", " "), quote=False)).replace("@", "@\u200b")
