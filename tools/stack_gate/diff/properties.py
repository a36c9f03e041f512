"""Changed values inside a resource's properties, by path."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest

from stack_gate.template import Json, as_list, as_object, canonical, is_list, is_object, same

Path = tuple[str, ...]
MAX_SHOWN = 160
MAX_LEAVES = 4  # changed values that one line names
MAX_PAIRS = 10_000  # of statements that are compared to find counterparts; longer lists go by position
_NAME_KEYS = ("VariantName", "Key", "Id", "Name", "PolicyName", "Sid")
_HASH = re.compile(r"\b([0-9a-f]{8})[0-9a-f]{56}\b")  # of an asset


@dataclass(frozen=True)
class ValueChange:
    """A value that differs, None on the side that lacks it. A list item's step in `path` is its name or index."""

    path: Path
    old: Json
    new: Json

    def describe(self) -> str:
        """Return one line that names the innermost values that differ."""
        if self.old is None or self.new is None:
            return self.describe_alone()
        parts = list(leaves(self))
        if not parts:
            return f"{self._name()}: another order"
        # One change of many values, such as the expiry of every rule, is one change to a reader.
        same: dict[tuple[str, str], list[ValueChange]] = {}
        for part in parts:
            same.setdefault((part.path[-1] if part.path else "", part.difference()), []).append(part)
        lines = [_describe_alike(alike) for alike in list(same.values())[:MAX_LEAVES]]
        more = len(same) - MAX_LEAVES
        return "; ".join([*lines, f"and {more} more"] if more > 0 else lines)

    def describe_alone(self) -> str:
        if _is_statement(self.old) or _is_statement(self.new):
            verb, statement = ("adds", self.new) if self.old is None else ("removes", self.old)
            return f"{'.'.join(self.path[:-1]) or 'the resource'}: {verb} {describe_statement(statement)}"
        return f"{self._name()}: {self.difference()}"

    def _name(self) -> str:
        return ".".join(self.path) or "the resource"

    def difference(self) -> str:
        if not (is_list(self.old) and is_list(self.new)):
            return f"{_shorten(self.old)} → {_shorten(self.new)}"
        before, after = {canonical(item) for item in self.old}, {canonical(item) for item in self.new}
        removed = [f"removes {_shorten(item)}" for item in self.old if canonical(item) not in after]
        added = [f"adds {_shorten(item)}" for item in self.new if canonical(item) not in before]
        return ", ".join([*removed, *added]) or "another order"


def _describe_alike(parts: list[ValueChange]) -> str:
    """Return one line for values of one name that change alike."""
    if len(parts) == 1:
        return parts[0].describe_alone()
    paths = [part.path for part in parts]
    shared = next((at for at, steps in enumerate(zip(*paths, strict=False)) if len(set(steps)) > 1), 0)
    places = [".".join(path[shared:-1]) for path in paths]
    places = [*places[:MAX_LEAVES], *([f"{len(places) - MAX_LEAVES} more"] if len(places) > MAX_LEAVES else [])]
    name = ".".join([*paths[0][:shared], f"{{{', '.join(places)}}}", paths[0][-1]])
    return f"{name}: {parts[0].difference()}"


def describe_statement(statement: Json) -> str:
    """Return a policy statement as one line: effect, actions, resources, principals and condition."""
    given = as_object(statement)
    line = f"{given.get('Effect', 'a statement')}"
    words = {"Action": "", "NotAction": "all but ", "Resource": "on ", "NotResource": "on all but "}
    words |= {"Principal": "for ", "NotPrincipal": "for all but "}
    for key, word in words.items():
        if key in given:
            line += f" {word}{_names(given[key])}"
    if given.get("Condition"):
        line += f" when {_shorten(given['Condition'])}"
    return line if len(line) <= 3 * MAX_SHOWN else f"{line[: 3 * MAX_SHOWN - 3]}..."


def _names(value: Json) -> str:
    if is_object(value) and not _is_function(value):
        return ", ".join(f"{kind} {_names(names)}" for kind, names in value.items())
    listed = [_shorten(item) for item in as_list(value)]
    return ", ".join(
        [*listed[:MAX_LEAVES], *([f"{len(listed) - MAX_LEAVES} more"] if len(listed) > MAX_LEAVES else [])]
    )


def changed_values(old: Json, new: Json) -> list[str]:
    """Return a description of every value that differs."""
    return [leaf.describe() for leaf in leaves(ValueChange((), old, new))]


def leaves(change: ValueChange) -> Iterator[ValueChange]:
    """Yield the innermost values that differ; a statement of a policy that is added or removed is one value."""
    yield from _select(change, None)


def select(old: Json, new: Json, pattern: str) -> Iterator[ValueChange]:
    """Yield the differing values at a dotted path; `*` matches every list item, `.` all properties.

    A value that the path cannot enter, such as an intrinsic function, is yielded itself.
    """
    yield from _select(ValueChange((), old, new), _steps(pattern))


def _select(change: ValueChange, steps: Path | None) -> Iterator[ValueChange]:
    """Yield the differing values at the path `steps` below `change`, the innermost ones if it is None."""
    if same(change.old, change.new):
        return
    parts = _children(change) if steps != () else None
    one_sided = change.old is None or change.new is None
    if parts is None or (steps is None and one_sided and (_is_statement(change.old) or _is_statement(change.new))):
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
    elif all(is_list(value) and bool(value) and all(_is_statement(item) for item in value) for value in given):
        return [
            ValueChange((*change.path, str(number)), before, after)
            for number, before, after in _paired_statements(change.old or [], change.new or [])
        ]
    elif all(is_list(value) and bool(value) and all(_is_plain_object(item) for item in value) for value in given):
        # Compare two lists of one item by position: a different name is then a change of the item.
        by_index = all(len(value) == 1 for value in given) and not any("Key" in value[0] for value in given)
        old, new = _by_name(change.old or [], by_index), _by_name(change.new or [], by_index)
    else:
        return None
    keys = [*old, *(key for key in new if key not in old)]
    return [ValueChange((*change.path, key), old.get(key), new.get(key)) for key in keys]


def _paired_statements(old: list[Json], new: list[Json]) -> Iterator[tuple[int, Json, Json]]:
    """Yield the head's statements, and then those of the base that are left, each with its most alike counterpart.

    IAM ignores the order of statements. Two are alike if they have the same effect and at least two more members, or
    their Sid, in common. The number is the position in the list that has the statement, the head's if both have.
    """
    if len(old) * len(new) > MAX_PAIRS:
        yield from ((number, *pair) for number, pair in enumerate(zip_longest(old, new)))
        return
    pairs = [
        (_common_members(before, after), -abs(left - right), left, right)
        for left, before in enumerate(old)
        for right, after in enumerate(new)
    ]
    partners: dict[int, int] = {}
    for common, _, left, right in sorted(pairs, reverse=True):
        if common >= 2 and left not in partners and right not in partners.values():
            partners[left] = right
    found = {right: left for left, right in partners.items()}
    for right, after in enumerate(new):
        yield right, old[found[right]] if right in found else None, after
    for left, before in enumerate(old):
        if left not in partners:
            yield left, before, None


def _common_members(one: Json, other: Json) -> int:
    """Return how many members two statements have in common, 0 if they have different effects."""
    if one["Effect"] != other["Effect"]:
        return 0
    keys = [key for key in (one.keys() | other.keys()) - {"Effect"}]
    equal = sum(same(one.get(key), other.get(key)) for key in keys)
    if len(one) == len(other) == equal + 1:
        return 100  # the same statement
    return equal + (2 if "Sid" in one and one["Sid"] == other.get("Sid") else 0) + (equal >= len(keys) - 1)


def _is_statement(value: Json) -> bool:
    return _is_plain_object(value) and isinstance(value.get("Effect"), str)


def _is_plain_object(value: Json) -> bool:
    return is_object(value) and not _is_function(value)


def _is_function(value: dict[str, Json]) -> bool:
    return len(value) == 1 and str(next(iter(value))).startswith(("Ref", "Fn::"))


def _by_name(items: list[Json], by_index: bool) -> dict[str, Json]:
    named: dict[str, Json] = {}
    for index, item in enumerate(items):
        name = next((item[key] for key in _NAME_KEYS if isinstance(item.get(key), str)), None)
        named[name if name is not None and name not in named and not by_index else str(index)] = item
    return named


def _shorten(value: Json) -> str:
    """Return a value on one line: functions as what they stand for, hashes of assets and long texts in part."""
    if value is None:
        return "none"
    plain = _plain(value)
    text = _HASH.sub(r"\1…", plain if isinstance(plain, str) else json.dumps(plain, sort_keys=True, ensure_ascii=False))
    return text if len(text) <= MAX_SHOWN else f"{text[: MAX_SHOWN - 3]}..."


def _plain(value: Json) -> Json:
    """Return a value with references as `<LogicalId>` or `<LogicalId.Attribute>`, and texts that are joined as one."""
    if is_list(value):
        return [_plain(item) for item in value]
    if not is_object(value):
        return value
    if len(value) == 1:
        function, argument = next(iter(value.items()))
        if function == "Ref" and isinstance(argument, str):
            return f"<{argument}>"
        if function == "Fn::GetAtt" and all(isinstance(part, str) for part in as_list(argument)):
            return f"<{'.'.join(as_list(argument))}>"
        if function == "Fn::Sub" and isinstance(argument, str):
            return re.sub(r"\$\{([^!}][^}]*)\}", r"<\1>", argument)
        if function == "Fn::Join" and is_list(argument) and len(argument) == 2 and is_list(argument[1]):
            parts = [_plain(part) for part in argument[1]]
            return str(argument[0]).join(part if isinstance(part, str) else json.dumps(part) for part in parts)
    return {key: _plain(item) for key, item in value.items()}
