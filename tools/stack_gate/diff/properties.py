"""Changed values inside a resource's properties, by path."""

import json
from collections.abc import Iterator
from dataclasses import dataclass

from stack_gate.template import Json, as_object, canonical, is_list, is_object

Path = tuple[str, ...]
MAX_SHOWN = 160
_NAME_KEYS = ("VariantName", "Key", "Id", "Name", "PolicyName", "Sid")


@dataclass(frozen=True)
class ValueChange:
    """A value that differs, None on the side that lacks it. A list item's step in `path` is its name or index."""

    path: Path
    old: Json
    new: Json

    def describe(self) -> str:
        name = ".".join(self.path) or "the resource"
        if not (is_list(self.old) and is_list(self.new)):
            return f"{name}: {_shorten(self.old)} → {_shorten(self.new)}"
        before, after = {canonical(item) for item in self.old}, {canonical(item) for item in self.new}
        removed = [f"removes {_shorten(item)}" for item in self.old if canonical(item) not in after]
        added = [f"adds {_shorten(item)}" for item in self.new if canonical(item) not in before]
        return f"{name}: {', '.join([*removed, *added]) or 'another order'}"


def changed_values(old: Json, new: Json) -> list[str]:
    """Return a description of every value that differs."""
    return [leaf.describe() for leaf in leaves(ValueChange((), old, new))]


def leaves(change: ValueChange) -> Iterator[ValueChange]:
    """Yield the innermost values that differ."""
    yield from _select(change, None)


def select(old: Json, new: Json, pattern: str) -> Iterator[ValueChange]:
    """Yield the differing values at a dotted path; `*` matches every list item, `.` all properties.

    A value that the path cannot enter, such as an intrinsic function, is yielded itself.
    """
    yield from _select(ValueChange((), old, new), _steps(pattern))


def _select(change: ValueChange, steps: Path | None) -> Iterator[ValueChange]:
    """Yield the differing values at the path `steps` below `change`, the innermost ones if it is None."""
    if canonical(change.old) == canonical(change.new):
        return
    parts = _children(change) if steps != () else None
    if parts is None:
        yield change
        return
    for part in parts:
        if steps is None:
            yield from _select(part, None)
        elif steps[0] in ("*", part.path[-1]):
            yield from _select(part, steps[1:])


def matches(pattern: str, path: Path) -> bool:
    """Return whether a path is at or below the pattern."""
    steps = _steps(pattern)
    return len(steps) <= len(path) and all(step in ("*", part) for step, part in zip(steps, path, strict=False))


def _steps(pattern: str) -> Path:
    return () if pattern == "." else tuple(pattern.split("."))


def _children(change: ValueChange) -> list[ValueChange] | None:
    """Return the changes of an object's values or of a list of objects, item by item; None for anything else."""
    given = [value for value in (change.old, change.new) if value is not None]
    if all(_is_plain_object(value) for value in given):
        old, new = as_object(change.old), as_object(change.new)
    elif all(is_list(value) and bool(value) and all(_is_plain_object(item) for item in value) for value in given):
        # Compare two lists of one item by position: a different name is then a change of the item.
        by_index = all(len(value) == 1 for value in given) and not any("Key" in value[0] for value in given)
        old, new = _by_name(change.old or [], by_index), _by_name(change.new or [], by_index)
    else:
        return None
    keys = [*old, *(key for key in new if key not in old)]
    return [ValueChange((*change.path, key), old.get(key), new.get(key)) for key in keys]


def _is_plain_object(value: Json) -> bool:
    return is_object(value) and not (len(value) == 1 and next(iter(value)).startswith(("Ref", "Fn::")))


def _by_name(items: list[Json], by_index: bool) -> dict[str, Json]:
    named: dict[str, Json] = {}
    for index, item in enumerate(items):
        name = next((item[key] for key in _NAME_KEYS if isinstance(item.get(key), str)), None)
        named[name if name is not None and name not in named and not by_index else str(index)] = item
    return named


def _shorten(value: Json) -> str:
    if value is None:
        return "none"
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
    return text if len(text) <= MAX_SHOWN else f"{text[: MAX_SHOWN - 3]}..."
