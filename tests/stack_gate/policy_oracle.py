"""Random pairs of policies, judged by the gate and by trying every request: `python -m tests.stack_gate.policy_oracle`.

A request is (action, resource, tag or none). The universe is small enough to try all of them, and has a letter that no
pattern contains, which stands for every other text. The oracle shares no code with the gate.
"""

import argparse
import itertools
import random
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any

from stack_gate.diff.stacks import StackDiff
from stack_gate.rules.permissions import find_new_permissions
from stack_gate.template import Stack

Statement = dict[str, Any]
Request = tuple[str, str, str | None]

ACTIONS = ("z:z", *(f"s3:{letters}" for letters in ("a", "b", "z", "ab", "az", "zb", "zz", "azz", "azb")))
RESOURCES = ("r", "s", "z", "r/a", "r/z", "r/zz", "r/z/a", "rz", "rzz/a", "s/a", "s/z", "sz", "z/a", "zz/a", "zz")
TAGS = (None, "x", "y", "z", "xy", "xz", "zz", "xzz")
REQUESTS: tuple[Request, ...] = tuple(itertools.product(ACTIONS, RESOURCES, TAGS))
ACTION_PATTERNS = ("s3:a", "s3:b", "s3:ab", "s3:a*", "s3:?", "s3:*", "*", "s3:*b", "s3:a?")
RESOURCE_PATTERNS = ("r", "s", "r/*", "r*", "*", "*/a", "r/?", "s*", "?")
TAG = "aws:PrincipalTag/t"
VALUES = ("x", "y", "xy", "x*", "*", "?", "x?")
OPERATORS = ("StringEquals", "StringLike", "StringNotEquals", "StringNotLike", "Null")
MAX_NEEDLESS = 0.01


@dataclass
class Tally:
    """How many pairs the gate judged, and how many of those wrongly."""

    pairs: int = 0
    new: int = 0
    unsound: int = 0
    needless: int = 0
    example: str = ""

    @property
    def needless_rate(self) -> float:
        return self.needless / max(1, self.pairs)


def judge_pairs(pairs: int, seed: int) -> Tally:
    """Judge random pairs by both."""
    source = random.Random(seed)
    tally = Tally()
    for _ in range(pairs):
        base = [_statement(source) for _ in range(source.choice((1, 2, 2, 3)))]
        head = _edited(source, base) if source.random() < 0.7 else [_statement(source) for _ in base]
        found, expected = gate_objects(base, head), allows_more(base, head)
        tally.pairs += 1
        tally.new += expected
        tally.needless += found and not expected
        if expected and not found:
            tally.unsound += 1
            tally.example = tally.example or f"{base}\n{head}"
    return tally


def gate_objects(base: list[Statement], head: list[Statement]) -> bool:
    """Return whether the gate has a finding for the pair."""
    stacks = [_stack(statements) for statements in (base, head)]
    return any(True for _ in find_new_permissions(StackDiff(base=stacks[0], head=stacks[1])))


def allows_more(base: list[Statement], head: list[Statement]) -> bool:
    """Return whether the head allows a request that no statement of the base allows, or stops denying one."""
    allowed, denied = (_requests(base, effect) for effect in ("Allow", "Deny"))
    allowed_now, denied_now = (_requests(head, effect) for effect in ("Allow", "Deny"))
    return bool((allowed_now & ~denied_now & ~allowed) | (denied & ~denied_now))


def _requests(statements: list[Statement], effect: str) -> int:
    """Return the requests that statements of an effect match, as bits by the index in REQUESTS."""
    found = 0
    for statement in statements:
        if statement["Effect"] == effect:
            matched = _with(0, statement, "Action") & _with(1, statement, "Resource")
            for operator, keys in statement.get("Condition", {}).items():
                matched &= _with_tag(operator, tuple(keys[TAG]))
            found |= matched
    return found


def _with(part: int, statement: Statement, name: str) -> int:
    if name in statement:
        return _matching(part, tuple(statement[name]))
    return ~_matching(part, tuple(statement[f"Not{name}"])) & (1 << len(REQUESTS)) - 1


@cache
def _matching(part: int, patterns: tuple[str, ...]) -> int:
    compiled = [_glob(pattern) for pattern in patterns]
    return _bits(any(pattern.fullmatch(str(request[part])) for pattern in compiled) for request in REQUESTS)


@cache
def _with_tag(operator: str, values: tuple[str, ...]) -> int:
    return _bits(_holds(operator, values, tag) for _, _, tag in REQUESTS)


def _bits(answers: Iterable[bool]) -> int:
    return sum(1 << index for index, answer in enumerate(answers) if answer)


def _holds(operator: str, values: tuple[str, ...], tag: str | None) -> bool:
    """Evaluate one operator as IAM documents it: a negated one holds without the key."""
    name = operator.removesuffix("IfExists")
    if name == "Null":
        return (tag is None) == (values[0] == "true")
    negated = "Not" in name
    if tag is None:
        return negated or operator.endswith("IfExists")
    plain = any(_glob(value).fullmatch(tag) if "Like" in name else value == tag for value in values)
    return plain != negated


@cache
def _glob(pattern: str) -> re.Pattern[str]:
    return re.compile("".join(".*" if char == "*" else "." if char == "?" else re.escape(char) for char in pattern))


def _stack(statements: list[Statement]) -> Stack:
    document = {"Version": "2012-10-17", "Statement": statements}
    properties = {"PolicyDocument": document, "ManagedPolicyName": "any"}
    return Stack(
        name="Any", template={"Resources": {"P": {"Type": "AWS::IAM::ManagedPolicy", "Properties": properties}}}
    )


def _statement(source: random.Random) -> Statement:
    statement: Statement = {"Effect": "Deny" if source.random() < 0.25 else "Allow"}
    for name, patterns in (("Action", ACTION_PATTERNS), ("Resource", RESOURCE_PATTERNS)):
        key = f"Not{name}" if source.random() < 0.12 else name
        statement[key] = source.sample(patterns, source.choice((1, 1, 2)))
    if source.random() < 0.4:
        statement["Condition"] = _condition(source)
    return statement


def _condition(source: random.Random) -> dict[str, Any]:
    condition: dict[str, Any] = {}
    for _ in range(source.choice((1, 1, 2))):
        operator = source.choice(OPERATORS)
        if operator == "Null":
            condition[operator] = {TAG: [source.choice(("true", "false"))]}
        else:
            exists = "IfExists" if source.random() < 0.2 and "Not" not in operator else ""
            values = VALUES if "Like" in operator else VALUES[:3]
            condition[operator + exists] = {TAG: source.sample(values, source.choice((1, 1, 2)))}
    return condition


def _edited(source: random.Random, base: list[Statement]) -> list[Statement]:
    """Return the statements with one edit: what a pull request does."""
    head = [dict(statement) for statement in base]
    statement = source.choice(head)
    edit = source.choice(("action", "resource", "condition", "drop", "add", "no condition", "order"))
    if edit in ("action", "resource"):
        name, patterns = ("Action", ACTION_PATTERNS) if edit == "action" else ("Resource", RESOURCE_PATTERNS)
        statement.pop(f"Not{name}", None)
        statement[name] = source.sample(patterns, source.choice((1, 2)))
    elif edit == "condition":
        statement["Condition"] = _condition(source)
    elif edit == "no condition":
        statement.pop("Condition", None)
    elif edit == "drop":
        head.remove(statement)
    elif edit == "add":
        head.append(_statement(source))
    else:
        head.reverse()
    return head


def main() -> int:
    """Judge pairs, and exit with 1 if one is unsound or too many are needlessly new."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32))
    options = parser.parse_args()
    tally = judge_pairs(options.pairs, options.seed)
    print(f"seed {options.seed}: {tally.pairs} pairs, {tally.new} with new access, {tally.unsound} unsound,")
    print(f"{tally.needless} needlessly new ({100 * tally.needless_rate:.2f} %)\n{tally.example}")
    return int(tally.unsound > 0 or tally.needless_rate > MAX_NEEDLESS)


if __name__ == "__main__":
    sys.exit(main())
