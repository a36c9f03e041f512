"""What is deployed anew because something else changes: chains of references, from their cause to their end."""

from collections.abc import Mapping

from stack_gate.difference import Difference
from stack_gate.template import Stack

MOST_CHAINS = 50


def redeploys(head: Stack, difference: Difference) -> list[list[str]]:
    """Chains of logical ids: a changed custom resource or a replaced resource, then what refers to it, and so on."""
    changed = {name: change for name, change in difference.changes.items() if name in head.resources}
    followers = {
        cause: [name for name, change in changed.items() if cause in change.causes and name != cause]
        for cause in changed
    }
    starts = [name for name, change in changed.items() if followers[name] and not _caused(change.causes, name, changed)]
    chains: list[list[str]] = []
    for start in starts:
        _extend([start], followers, chains)
    return chains[:MOST_CHAINS]


def _caused(causes: tuple[str, ...], name: str, changed: Mapping[str, object]) -> bool:
    return any(cause != name and cause in changed for cause in causes)


def _extend(chain: list[str], followers: dict[str, list[str]], chains: list[list[str]]) -> None:
    further = [name for name in followers.get(chain[-1], []) if name not in chain]
    if not further:
        chains.append(chain)
    for name in further:
        if len(chains) < MOST_CHAINS:
            _extend([*chain, name], followers, chains)
