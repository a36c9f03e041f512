"""Two stacks compared by CDK's differ: what happens to each resource, what redeploys, which asset files changed."""

import json
import subprocess
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from stack_gate import GateError
from stack_gate.template import Stack, normalised

TIMEOUT_SECONDS = 300
MAX_CHAINS = 50
MAX_LISTED_FILES = 15
_SCRIPT = Path(__file__).with_name("cloudformation_diff.js")


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A stack before and after. For a new or removed stack the other side is empty."""

    base: Stack
    head: Stack
    is_new: bool = False
    is_removed: bool = False


@dataclass(frozen=True, kw_only=True)
class Change:
    """What happens to one resource.

    `impact` is CDK's term (WILL_UPDATE, WILL_REPLACE, ...), after following references from replaced resources and
    changed custom resources; `properties` has it for each property; `causes` are the changed resources it refers to.
    """

    impact: str
    properties: dict[str, str]
    causes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class StackDiff(Pair):
    """A pair with every changed resource by logical id, and CDK's verdict on permissions and security groups."""

    changes: dict[str, Change] = field(default_factory=dict[str, Change])
    permissions_broadened: bool = False
    network_broadened: bool = False

    def redeploy_chains(self) -> list[list[str]]:
        """Return chains of logical ids from a replaced resource or changed custom resource along what refers to it."""
        changed = {name: change for name, change in self.changes.items() if name in self.head.resources}
        followers = {
            cause: [name for name, change in changed.items() if cause in change.causes and name != cause]
            for cause in changed
        }
        starts = [
            name
            for name, change in changed.items()
            if followers[name] and not any(cause != name and cause in changed for cause in change.causes)
        ]
        chains: list[list[str]] = []
        for start in starts:
            _extend_chain([start], followers, chains)
        return chains[:MAX_CHAINS]


def _extend_chain(chain: list[str], followers: dict[str, list[str]], chains: list[list[str]]) -> None:
    next_names = [name for name in followers.get(chain[-1], []) if name not in chain]
    if not next_names:
        chains.append(chain)
    for name in next_names:
        if len(chains) < MAX_CHAINS:
            _extend_chain([*chain, name], followers, chains)


def pair_up(base: Sequence[Stack], head: Sequence[Stack]) -> list[Pair]:
    """Pair the stacks of an environment by name; if there is one on each side, pair those."""
    if len(base) == 1 and len(head) == 1:
        return [Pair(base=base[0], head=head[0])]
    before, after = {stack.name: stack for stack in base}, {stack.name: stack for stack in head}
    pairs = [
        Pair(base=before.get(name, _empty(stack)), head=stack, is_new=name not in before)
        for name, stack in after.items()
    ]
    removed = [stack for name, stack in before.items() if name not in after]
    return pairs + [Pair(base=stack, head=_empty(stack), is_removed=True) for stack in removed]


def _empty(stack: Stack) -> Stack:
    return Stack(name=stack.name, template={}, region=stack.region, account=stack.account)


def _normalised(stack: Stack) -> Stack:
    return replace(stack, template=normalised(stack.template))


def diff_stacks(pairs: Sequence[Pair]) -> list[StackDiff]:
    """Compare each pair, all in one Node process. Raise GateError with Node's output if it fails."""
    # By identity: many pairs may have the same base, which is then read once.
    stacks = {id(stack): _normalised(stack) for pair in pairs for stack in (pair.base, pair.head)}
    pairs = [replace(pair, base=stacks[id(pair.base)], head=stacks[id(pair.head)]) for pair in pairs]
    templates = json.dumps([(pair.base.template, pair.head.template) for pair in pairs])
    try:
        done = subprocess.run(
            ["node", str(_SCRIPT)], input=templates, capture_output=True, text=True, timeout=TIMEOUT_SECONDS
        )
    except (FileNotFoundError, subprocess.TimeoutExpired) as error:
        raise GateError(f"the template differ could not run: {error}") from error
    if done.returncode != 0:
        raise GateError(f"the template differ failed:\n{done.stderr.strip()}")
    return [
        StackDiff(
            **vars(pair),
            changes={
                name: Change(impact=change["impact"], properties=change["properties"], causes=tuple(change["causes"]))
                for name, change in raw["resources"].items()
            },
            permissions_broadened=raw["permissions_broadened"],
            network_broadened=raw["network_broadened"],
        )
        for pair, raw in zip(pairs, json.loads(done.stdout), strict=True)
    ]


@dataclass(frozen=True, kw_only=True)
class AssetChange:
    """An asset with the files that were added to it, removed from it or changed in it."""

    name: str
    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: tuple[str, ...]

    def lines(self) -> list[str]:
        """Return one line per file, or per folder if there are many files."""
        listed = [("added", self.added), ("removed", self.removed), ("changed", self.changed)]
        return [line for verb, paths in listed for line in _file_lines(verb, paths)]


def changed_assets(base: Stack, head: Stack) -> list[AssetChange]:
    """Return every asset whose files differ. All files of a new asset are added, all of a missing one removed."""
    changes: list[AssetChange] = []
    for name in sorted(base.assets.keys() | head.assets.keys()):
        before, after = base.assets.get(name, {}), head.assets.get(name, {})
        if before != after:
            changes.append(
                AssetChange(
                    name=name,
                    added=tuple(sorted(after.keys() - before.keys())),
                    removed=tuple(sorted(before.keys() - after.keys())),
                    changed=tuple(path for path in sorted(before.keys() & after.keys()) if before[path] != after[path]),
                )
            )
    return changes


def _file_lines(verb: str, paths: tuple[str, ...]) -> list[str]:
    if len(paths) <= MAX_LISTED_FILES:
        return [f"{verb} {path}" for path in paths]
    folders = Counter(path.split("/")[0] for path in paths)
    lines = [f"{verb} {count} files in {folder}" for folder, count in sorted(folders.items())]
    more = len(lines) - MAX_LISTED_FILES
    return lines if more <= 0 else [*lines[:MAX_LISTED_FILES], f"{verb} files in {more} more folders"]
