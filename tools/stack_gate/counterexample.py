"""A request that the change newly allows, in words that a reviewer can check."""

from functools import cache

from stack_gate.globs import covered
from stack_gate.intrinsics import TOKEN
from stack_gate.rules import example_actions
from stack_gate.statements import EVERYBODY, Patterns, Statement
from stack_gate.template import Stack

ADMINISTRATOR = "policy/AdministratorAccess"


def describe(atom: Statement, stack: Stack, allowed: list[Statement]) -> str:
    """`<who> may <action> on <resource> when <condition>`, with an action that no statement of `allowed` gives."""
    who = _who(atom.principals, stack)
    action = _action(atom, allowed)
    condition = " and ".join(sorted(clause.words() for clause in atom.condition))
    when = f" when {_named(condition, stack)}" if condition else ""
    return f"{who}: {action} on {_resource(atom.resources, stack)}{when}"


def managed_policy_allows(arn: str, identity: str) -> str:
    """An example of what a well-known managed policy allows; empty for any other."""
    return f"{identity}: iam:CreateUser on anything" if arn.endswith(ADMINISTRATOR) else ""


def _who(principals: Patterns, stack: Stack) -> str:
    pattern = principals.patterns[0] if principals.patterns else ""
    if principals.negated:
        return f"anybody but {_plain_principal(pattern, stack)}"
    return _plain_principal(pattern, stack)


def _plain_principal(pattern: str, stack: Stack) -> str:
    if pattern == EVERYBODY:
        return "anybody, signed in or not"
    kind, _, name = pattern.partition(":")
    if kind == "holder of":
        return f"whoever holds {_last(name, stack)}"
    if kind == "runs":
        return stack.display(name)
    return _last(name, stack) if kind == "aws" else f"{kind} {_named(name, stack)}"


def _last(name: str, stack: Stack) -> str:
    """A role or policy of the stack by its construct path, anything else as it is written."""
    inside = [token for token in TOKEN.findall(name) if token in stack.resources]
    return stack.display(inside[0]) if inside else _named(name, stack)


def _action(atom: Statement, allowed: list[Statement]) -> str:
    patterns = atom.actions
    if patterns.negated:
        return f"any action but {' or '.join(patterns.patterns)}"
    pattern = patterns.patterns[0] if patterns.patterns else "nothing"
    if "*" not in pattern and "?" not in pattern:
        return _written(pattern)
    candidates = [name for name in example_actions() if covered(name.lower(), (pattern,))]
    given = [other for other in allowed if _reaches(other, atom)]
    new = [name for name in candidates if not any(covered(name.lower(), other.actions.patterns) for other in given)]
    return next(iter([*new, *candidates]), f"every action of the form {pattern}")


def _reaches(other: Statement, atom: Statement) -> bool:
    same_scope = other.scope == atom.scope and not other.actions.negated
    return same_scope and other.principals.includes(atom.principals) and other.resources.includes(atom.resources)


@cache
def _spelling() -> dict[str, str]:
    return {name.lower(): name for name in example_actions()}


def _written(action: str) -> str:
    """An action as AWS writes it, where the table of examples has it; IAM itself ignores case."""
    return _spelling().get(action, action)


def spelled(actions: Patterns) -> str:
    """Actions in words, as AWS writes them."""
    return Patterns(tuple(_written(action) for action in actions.patterns), actions.negated).words()


def telling(actions: Patterns) -> int:
    """Place of the first action among the examples: reviewers learn most from the lowest."""
    text = actions.patterns[0] if actions.patterns else ""
    places = [place for place, name in enumerate(example_actions()) if covered(name.lower(), (text,))]
    return min(places, default=len(example_actions()))


def _resource(resources: Patterns, stack: Stack) -> str:
    text = _named(resources.patterns[0], stack) if resources.patterns else "nothing"
    if resources.negated:
        return f"anything but {text}"
    if text == "*":
        return "anything, in this stack or not"
    return text.replace("*", "anything")


def _named(text: str, stack: Stack) -> str:
    return TOKEN.sub(lambda found: f"<{stack.display(found.group(1))}>", text)
