"""A resource's changed properties, judged by the rules of its type."""

import json
from collections.abc import Iterator
from dataclasses import dataclass

from stack_gate.findings import Finding
from stack_gate.judges import JUDGES, Place
from stack_gate.rules import Rule, TypeFacts, rules_for, type_facts
from stack_gate.template import Json, Stack, as_object, canonical, is_list, is_object

Path = tuple[str, ...]
LONGEST_SHOWN = 160
NAMES = ("VariantName", "Key", "Id", "Name", "PolicyName", "Sid")


@dataclass(frozen=True)
class Changed:
    """A value that differs, and where it is: names of properties, and of list items by their name or place."""

    path: Path
    old: Json
    new: Json


def judge_update(base: Stack, head: Stack, logical_id: str) -> list[Finding]:
    """Findings for a resource that both stacks have, of a type that the gate knows."""
    old, new = base.properties(logical_id), head.properties(logical_id)
    facts = type_facts(head.type_of(logical_id))
    if facts is None:
        return []
    rules = rules_for(head.type_of(logical_id))
    place = Place(base=base, head=head)
    shown = head.display(logical_id)
    found = [
        _finding(rule, changed, shown)
        for rule in rules
        for changed in select(old, new, rule.path)
        if JUDGES[rule.judge](changed.old, changed.new, place)
    ]
    return found + _unruled(facts, rules, old, new, shown)


def judge_addition(head: Stack, logical_id: str) -> list[Finding]:
    """Findings for a resource that only the head has: rules that hold for new resources, against their baseline."""
    facts = type_facts(head.type_of(logical_id))
    shown = head.display(logical_id)
    place = Place(base=head, head=head)
    found = [
        _finding(rule, Changed(changed.path, rule.baseline, changed.new), shown)
        for rule in rules_for(head.type_of(logical_id))
        if rule.added
        for changed in select({}, head.properties(logical_id), rule.path)
        if canonical(rule.baseline) != canonical(changed.new) and JUDGES[rule.judge](rule.baseline, changed.new, place)
    ]
    if facts is not None and facts.added:
        what = f"a new {head.type_of(logical_id)}"
        found.append(Finding(class_name=facts.added, resource=shown, what=what, why=facts.why))
    return found


def changed_values(base: Stack, head: Stack, logical_id: str) -> list[str]:
    """Every property of a resource that differs, in words."""
    return [_words(leaf) for leaf in leaves(base.properties(logical_id), head.properties(logical_id))]


def select(old: Json, new: Json, pattern: str) -> Iterator[Changed]:
    """The values at a dotted path that differ; `*` stands for every item of a list, `.` for all properties."""
    steps = () if pattern == "." else tuple(pattern.split("."))
    yield from _select(Changed((), old, new), steps)


def _select(here: Changed, steps: Path) -> Iterator[Changed]:
    if canonical(here.old) == canonical(here.new):
        return
    if not steps:
        yield here
        return
    parts = children(here.old, here.new)
    if parts is None:
        # A function of CloudFormation, or another kind of value, stands where the path goes on: judge that.
        yield here
        return
    for part in parts:
        if steps[0] in ("*", part.path[-1]):
            yield from _select(Changed(here.path + part.path, part.old, part.new), steps[1:])


def leaves(old: Json, new: Json, path: Path = ()) -> Iterator[Changed]:
    """The smallest values that differ."""
    if canonical(old) == canonical(new):
        return
    parts = children(old, new)
    if parts is None:
        yield Changed(path, old, new)
        return
    for part in parts:
        yield from leaves(part.old, part.new, path + part.path)


def children(old: Json, new: Json) -> list[Changed] | None:
    """What two objects, or two lists of objects, consist of, item by item; None for anything else."""
    given = [value for value in (old, new) if value is not None]
    if all(_is_object(value) for value in given):
        left, right = as_object(old), as_object(new)
    elif all(_is_list_of_objects(value) for value in given):
        alone = all(len(value) == 1 for value in given) and not any("Key" in value[0] for value in given)
        left, right = _by_name(old or [], alone), _by_name(new or [], alone)
    else:
        return None
    keys = [*left, *(key for key in right if key not in left)]
    return [Changed((key,), left.get(key), right.get(key)) for key in keys]


def _is_object(value: Json) -> bool:
    if not is_object(value):
        return False
    return not (len(value) == 1 and next(iter(value)).startswith(("Ref", "Fn::")))


def _is_list_of_objects(value: Json) -> bool:
    return is_list(value) and bool(value) and all(_is_object(item) for item in value)


def _by_name(items: list[Json], alone: bool) -> dict[str, Json]:
    named: dict[str, Json] = {}
    for index, item in enumerate(items):
        name = next((item[key] for key in NAMES if isinstance(item.get(key), str)), None)
        unique = name if name is not None and name not in named and not alone else str(index)
        named[unique] = item
    return named


def _unruled(facts: TypeFacts, rules: tuple[Rule, ...], old: Json, new: Json, shown: str) -> list[Finding]:
    """Changed properties that nothing speaks of, one finding for each property of the resource.

    Another identity is a replacement, or another place of a policy: lifetimes.py and permissions.py speak of those.
    """
    if facts.otherwise is None:
        return []
    spoken_of = ["Tags", *facts.free, *facts.identity, *(rule.path for rule in rules)]
    left = [leaf for leaf in leaves(old, new) if not any(_covers(pattern, leaf.path) for pattern in spoken_of)]
    first = {leaf.path[0]: leaf for leaf in reversed(left)}
    why = f"no rule says that this is harmless ({facts.why})"
    return [
        Finding(class_name=facts.otherwise, resource=shown, what=_words(leaf), why=why)
        for _, leaf in sorted(first.items())
    ]


def _covers(pattern: str, path: Path) -> bool:
    steps = () if pattern == "." else tuple(pattern.split("."))
    return len(steps) <= len(path) and all(
        step in ("*", part) for step, part in zip(steps, path[: len(steps)], strict=True)
    )


def _finding(rule: Rule, changed: Changed, shown: str) -> Finding:
    return Finding(class_name=rule.class_name, resource=shown, what=_words(changed), why=rule.why)


def _words(changed: Changed) -> str:
    name = ".".join(changed.path) or "the resource"
    if is_list(changed.old) and is_list(changed.new):
        return f"{name}: {_exchanged(changed.old, changed.new)}"
    return f"{name}: {_short(changed.old)} → {_short(changed.new)}"


def _exchanged(old: list[Json], new: list[Json]) -> str:
    """Items of a list that go and that come."""
    before, after = {canonical(item) for item in old}, {canonical(item) for item in new}
    gone = [f"without {_short(item)}" for item in old if canonical(item) not in after]
    come = [f"with {_short(item)}" for item in new if canonical(item) not in before]
    return ", ".join([*gone, *come]) or "in another order"


def _short(value: Json) -> str:
    if value is None:
        return "none"
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
    return text if len(text) <= LONGEST_SHOWN else f"{text[: LONGEST_SHOWN - 3]}..."
