"""The gate's result: verdict, classes, and all that was found, as data. Markdown is made from the same object."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from stack_gate.comparison import Comparison
from stack_gate.findings import CLASSES, Finding, label

PASS, NEEDS_LABEL, COULD_NOT_RUN = 0, 1, 2


@dataclass(frozen=True, kw_only=True)
class Report:
    """Both revisions, the classes that labels allow, the comparisons by environment, and changed files of the gate."""

    base: str
    head: str
    allowed: frozenset[str]
    environments: dict[str, list[Comparison]]
    own_changes: tuple[str, ...] = ()
    seconds: float = 0.0

    @property
    def findings(self) -> list[Finding]:
        """Every finding of every environment."""
        return [
            found for listed in self.environments.values() for comparison in listed for found in comparison.findings
        ]

    @property
    def classes(self) -> list[str]:
        """Classes with findings, in their usual order."""
        return in_order({found.class_name for found in self.findings})

    @property
    def missing(self) -> list[str]:
        """Classes with findings that no label allows."""
        return [name for name in self.classes if name not in self.allowed]

    @property
    def exit_code(self) -> int:
        """0: pass; 1: needs a label."""
        return NEEDS_LABEL if self.missing else PASS

    def as_json(self) -> dict[str, Any]:
        """All of it, for machines."""
        return {
            "verdict": "needs-label" if self.missing else "pass",
            "exit_code": self.exit_code,
            "base": self.base,
            "head": self.head,
            "classes": self.classes,
            "labels_needed": [label(name) for name in self.classes],
            "labels_missing": [label(name) for name in self.missing],
            "allowed": in_order(self.allowed),
            "gate_changed": list(self.own_changes),
            "seconds": round(self.seconds, 1),
            "environments": {
                name: [_comparison(comparison) for comparison in listed] for name, listed in self.environments.items()
            },
        }


def in_order(names: Iterable[str]) -> list[str]:
    """Class names in the order of the table."""
    given = set(names)
    return [name for name in CLASSES if name in given]


def _comparison(comparison: Comparison) -> dict[str, Any]:
    return {
        "stack": comparison.name,
        "findings": [found.as_json() for found in comparison.findings],
        "resources": comparison.impacts,
        "values": comparison.values,
        "redeploys": comparison.redeploys,
        "assets": [asdict(change) for change in comparison.assets],
        "cost_before": asdict(comparison.before) if comparison.before else None,
        "cost_after": asdict(comparison.after) if comparison.after else None,
        "cdk_says_permissions_broadened": comparison.permissions_broadened,
    }
