"""`musicgen status`, `wake` and `watch`: what the endpoint, or a job, is doing."""

import json
import time
from datetime import datetime
from typing import Annotated

import typer

from musicgen_client.cli import app


def status(
    context: typer.Context,
    job: Annotated[str | None, typer.Argument(help='a job\'s id, the beginning of it, or "last"')] = None,
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """Show the endpoint, or what a job is doing.

    Of the endpoint: whether it is asleep, waking, idle or busy, its queue, staged model and price. Of a JOB: its stage,
    and the per cent if it was generated with --percent.
    """
    music = app.connect(context.obj)
    if job is not None:
        update = music.look(job)
        if as_json or context.obj.json:
            fields = {"id": update.job, "stage": update.stage, "percent": update.percent}
            typer.echo(json.dumps({**fields, "error": update.detail or None}))
        else:
            percent = "" if update.percent is None else f"  {update.percent:.0f} %"
            typer.echo(f"{update.job}  {update.stage}{percent}" + (f": {update.detail}" if update.detail else ""))
        return
    found = music.status()
    if as_json or context.obj.json:
        typer.echo(json.dumps(found.as_dict()))
        return
    price = "unknown" if found.usd_per_hour is None else f"${found.usd_per_hour:g}/h now"
    age = "-" if not found.oldest_seconds else f"{found.oldest_seconds:.0f} s"
    lines = {
        "state": found.state, "instances": f"{found.instances} (wanted: {found.desired_instances})",
        "backlog": "unknown" if found.backlog is None else found.backlog, "oldest request": age,
        "staged model": found.staged_model or "unknown", "price": price,
    }  # fmt: skip
    for name, value in lines.items():
        typer.echo(f"{name:<15}{value}")


def wake(context: typer.Context) -> None:
    """Start an instance in advance; usually takes 5 to 10 minutes.

    Does not wait for it: `status` and `watch` show when it runs. It ends by itself when it is idle.
    """
    started = app.connect(context.obj).wake()
    typer.echo("an instance is starting, usually 5 to 10 minutes" if started else "an instance is running or starting")


def watch(
    context: typer.Context,
    seconds: Annotated[float, typer.Option(min=1, help="between two looks")] = 10,
    times: Annotated[int | None, typer.Option(min=1, help="how many looks (default: until Ctrl-C)")] = None,
) -> None:
    """Show the endpoint's state again and again."""
    music = app.connect(context.obj)
    looks = 0
    while times is None or looks < times:
        if looks:
            time.sleep(seconds)
        looks += 1
        found = music.status()
        backlog = "?" if found.backlog is None else found.backlog
        typer.echo(
            f"{datetime.now().astimezone():%H:%M:%S}  {found.state:<8} instances {found.instances}  backlog {backlog}"
        )
