"""Run every check on every pair of stacks, side by side, and say what could not be compared."""

import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from stack_gate import GateError
from stack_gate.checks.children import Child, answers
from stack_gate.checks.forecast import ENDPOINT, Forecast, forecast, planner
from stack_gate.checks.lint import Linter, linters, newly_failing, without_asset_hashes, without_metadata
from stack_gate.diff.stacks import Pair
from stack_gate.findings import Finding
from stack_gate.template import Json, Stack

MAX_PARALLEL = 2  # different checks


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What the checks say of one pair: findings of class `lint`, and the planner's forecast for both sides."""

    findings: list[Finding] = field(default_factory=list[Finding])
    before: Forecast | None = None
    after: Forecast | None = None


@dataclass(frozen=True, kw_only=True)
class _Answer:
    """A child's answer about one template, or why it has none."""

    value: Json = None
    error: str = ""


def run_checks(pairs: Sequence[Pair], configuration: Mapping[str, str], cache: Path) -> tuple[list[Outcome], list[str]]:
    """Return an outcome for each pair, and a sentence for each check that could not compare them."""
    notes: list[str] = []
    with ThreadPoolExecutor(MAX_PARALLEL) as executor:
        # Started together, gathered afterwards: two children at a time, and the slowest first.
        differing = [pair for pair in pairs if _differ(pair)]
        started = [
            (linter, _start(executor, linter.child, differing, without_metadata_of, cache))
            for linter in linters(configuration)
            if not _is_missing(linter, notes, differing)
        ]
        planned = _start(executor, planner(), [pair for pair in pairs if _has_endpoint(pair)], template_of, cache)
        found: dict[int, list[Finding]] = {}
        for linter, gather in started:
            for pair, before, after in gather():
                found.setdefault(id(pair), []).extend(_judge(linter, pair, before, after, notes))
        forecasts = {id(pair): tuple(map(_read_forecast, sides)) for pair, *sides in planned()}
    outcomes: list[Outcome] = []
    for pair in pairs:
        before, after = forecasts.get(id(pair), (None, None))
        before = None if pair.is_new or not _endpoints(pair.base) else before
        after = None if pair.is_removed or not _endpoints(pair.head) else after
        outcomes.append(Outcome(findings=found.get(id(pair), []), before=before, after=after))
    errors = {one.error for outcome in outcomes for one in (outcome.before, outcome.after) if one and one.error}
    notes += [f"The planner could not estimate cost and waiting time: {error}" for error in sorted(errors)]
    return outcomes, list(dict.fromkeys(notes))


def template_of(stack: Stack) -> str:
    return without_asset_hashes(json.dumps(stack.template, sort_keys=True), stack)


def without_metadata_of(stack: Stack) -> str:
    return without_asset_hashes(without_metadata(stack.template), stack)


def _differ(pair: Pair) -> bool:
    return not pair.is_removed and without_metadata_of(pair.base) != without_metadata_of(pair.head)


def _endpoints(stack: Stack) -> int:
    return sum(1 for _ in stack.of_type(ENDPOINT))


def _has_endpoint(pair: Pair) -> bool:
    return _endpoints(pair.base) + _endpoints(pair.head) > 0


def _is_missing(linter: Linter, notes: list[str], pairs: Sequence[Pair]) -> bool:
    if linter.missing and pairs:
        notes.append(f"{linter.name} was not compared: {linter.missing}.")
    return bool(linter.missing)


def _start(
    executor: ThreadPoolExecutor,
    child: Child,
    pairs: Sequence[Pair],
    text_of: Callable[[Stack], str],
    cache: Path,
) -> Callable[[], list[tuple[Pair, _Answer, _Answer]]]:
    """Start a child for one side, then for the other, and return what waits for both.

    Each side has a process of its own, but never two of one check at a time: cdk-nag takes more than half a gibibyte.
    """
    sides = [[text_of(pair.base) for pair in pairs], [text_of(pair.head) for pair in pairs]]
    answered = executor.submit(lambda: [_ask(child, templates, cache) for templates in sides])
    return lambda: list(zip(pairs, *answered.result(), strict=True))


def _ask(child: Child, templates: Sequence[str], cache: Path) -> list[_Answer]:
    """Return an answer about each template. If one cannot be read, the others still are."""
    different = list(dict.fromkeys(templates))
    try:
        found = dict(zip(different, map(_answered, answers(child, different, cache)), strict=True))
    except (GateError, ValueError) as error:
        found = {different[0]: _Answer(error=str(error))} if len(different) == 1 else {}
        for template in different if not found else []:
            found[template] = _ask(child, [template], cache)[0]
    return [found[template] for template in templates]


def _answered(value: Json) -> _Answer:
    return _Answer(value=value)


def _judge(linter: Linter, pair: Pair, before: _Answer, after: _Answer, notes: list[str]) -> list[Finding]:
    if after.error and not before.error:
        what = f"{linter.name} cannot check the stack any more: {after.error[:200]}"
        return [Finding(class_name="lint", resource="", what=what, why="nobody knows what it would find")]
    if before.error:
        notes.append(f"{linter.name} was not compared, since it cannot check the base: {before.error[:200]}")
        return []
    return list(newly_failing(linter.name, pair, before.value, after.value))


def _read_forecast(answer: _Answer) -> Forecast:
    return Forecast(error=answer.error[:200]) if answer.error else forecast(answer.value)
