"""Which files of an asset changed, by name."""

from dataclasses import dataclass

from stack_gate.template import Stack

MOST_NAMED = 15


@dataclass(frozen=True, kw_only=True)
class AssetChange:
    """One asset with the names of its files that were added, removed or changed."""

    name: str
    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: tuple[str, ...]

    def lines(self) -> list[str]:
        """One line a file; many files of one folder in one line."""
        marked = [("added", self.added), ("removed", self.removed), ("changed", self.changed)]
        return [line for mark, paths in marked for line in _folded(mark, paths)]


def changed_assets(base: Stack, head: Stack) -> list[AssetChange]:
    """Every asset whose content differs; one that only one of the stacks has counts as all added or removed."""
    names = sorted(base.assets.keys() | head.assets.keys())
    changes = [_change(name, base.assets.get(name, {}), head.assets.get(name, {})) for name in names]
    return [change for change in changes if change.added or change.removed or change.changed]


def _change(name: str, before: dict[str, str], after: dict[str, str]) -> AssetChange:
    return AssetChange(
        name=name,
        added=tuple(sorted(after.keys() - before.keys())),
        removed=tuple(sorted(before.keys() - after.keys())),
        changed=tuple(path for path in sorted(before.keys() & after.keys()) if before[path] != after[path]),
    )


def _folded(mark: str, paths: tuple[str, ...]) -> list[str]:
    if len(paths) <= MOST_NAMED:
        return [f"{mark} {path}" for path in paths]
    folders: dict[str, int] = {}
    for path in paths:
        folder = path.split("/")[0]
        folders[folder] = folders.get(folder, 0) + 1
    named = [f"{mark} {count} files of {folder}" for folder, count in sorted(folders.items())]
    rest = len(named) - MOST_NAMED
    return named if rest <= 0 else [*named[:MOST_NAMED], f"{mark} files of {rest} more folders"]
