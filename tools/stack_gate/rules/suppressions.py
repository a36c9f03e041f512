"""New suppressions of cfn-lint, checkov and cdk-nag: in metadata of the template, or acknowledged in CDK.

Their configuration files are of class `gate` (boundary/files.py).
"""

from collections.abc import Iterator

from stack_gate.diff.properties import ValueChange, leaves
from stack_gate.diff.stacks import StackDiff
from stack_gate.findings import Finding
from stack_gate.rules.tables import stack_finding
from stack_gate.template import Stack, as_object

TOOLS = ("cdk_nag", "checkov", "bc", "cfn-lint", "cfn_nag")  # keys of metadata


def find_suppressions(diff: StackDiff) -> Iterator[Finding]:
    """Find rules that the head newly excepts a construct from. Fewer exceptions need no label."""
    base, head = diff.base, diff.head
    before = {(path, rule) for path, rule, _ in _acknowledged(base)}
    for path, rule, reason in _acknowledged(head):
        if (path, rule) not in before:
            what = f"acknowledges {rule}: {reason[:200] or 'no reason'}"
            yield stack_finding("suppression", resource=path, what=what)
    for logical_id in ("", *head.resources):
        old, new = _metadata(base, logical_id), _metadata(head, logical_id)
        for tool in TOOLS:
            change = ValueChange((tool,), old.get(tool), new.get(tool))
            if any(leaf.new is not None for leaf in leaves(change)):
                shown = head.display(logical_id) if logical_id else ""
                yield stack_finding("suppression", resource=shown, what=f"metadata {change.describe()}")


def _acknowledged(stack: Stack) -> Iterator[tuple[str, str, str]]:
    for path, rules in sorted(stack.acknowledged.items()):
        for rule, reason in sorted(rules.items()):
            yield path, stack.display_references(rule), reason


def _metadata(stack: Stack, logical_id: str) -> dict[str, object]:
    """Return the metadata of a resource, or of the template for an empty id."""
    owner = stack.resources.get(logical_id, {}) if logical_id else stack.template
    return as_object(owner.get("Metadata"))
