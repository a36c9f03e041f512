"""What a stack costs a month and how long requests wait, under a stated load, by the project's capacity planner."""

import json
from collections.abc import Callable
from dataclasses import dataclass

from stack_gate.boundary.launch import COMPANIONS, own_digest, own_root
from stack_gate.checks.children import Child
from stack_gate.template import Json, as_object

LOAD = {"pattern": "steady", "rate": 20.0, "hours": 24.0, "clip_seconds": 30.0, "startup_seconds": 360.0}
LOAD_IN_WORDS = "20 requests an hour around the clock, for clips of 30 s"
ENDPOINT = "AWS::SageMaker::Endpoint"


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """USD a month, and seconds until half and 95 % of the requests have their result; None if none has one.

    `unanswered` are requests of the simulated day without a result. With `error` there is no forecast, for that reason.
    """

    usd_per_month: float = 0.0
    p50: float | None = None
    p95: float | None = None
    unanswered: int = 0
    error: str = ""


def planner() -> Child:
    """Return the planner, which is code and tables of the base."""
    root = own_root()
    return Child(
        script="run_planner.py",
        settings={"load.json": json.dumps(LOAD)},
        import_path=(root, root / "local"),
        readable=tuple(root / name for name in COMPANIONS),
        key=own_digest(),
    )


def forecast(answer: Json) -> Forecast:
    """Return what the planner's answer says."""
    return Forecast(**as_object(answer))


def describe_change(before: Forecast | None, after: Forecast | None) -> tuple[str, str]:
    """Return cells of a table: USD a month, and seconds until 95 % have their result, before → after."""
    dollars = _change(*(_cell(side, _dollars) for side in (before, after)))
    return dollars, _change(*(_cell(side, _seconds) for side in (before, after)))


def _cell(side: Forecast | None, shown: Callable[[Forecast], str]) -> str:
    return "none" if side is None else "not known" if side.error else shown(side)


def _dollars(side: Forecast) -> str:
    return f"${side.usd_per_month:,.0f}"


def _seconds(side: Forecast) -> str:
    if side.p95 is None:
        return "never"
    lost = f", {side.unanswered} a day never" if side.unanswered else ""
    return f"{side.p95:.0f} s{lost}" if side.p95 < 600 else f"{side.p95 / 60:.0f} min{lost}"


def _change(before: str, after: str) -> str:
    return f"{before}, unchanged" if before == after else f"**{before} → {after}**"
