"""What the controller saw, as a file of JSON lines that the walkthrough and the tests read."""

import json
from dataclasses import dataclass
from pathlib import Path

from local_aws.autoscaling.controller import Minute

FOLDER = "scaling"  # of the state folder


@dataclass(frozen=True)
class Recorded:
    """One minute of the file; `at` in seconds of the controller's clock. `decision` is empty where none was made;
    `alarms` are their states by name."""

    at: float
    backlog: int
    instances: int
    desired: int
    decision: str
    alarms: dict[str, str]


def path_of(folder: Path, endpoint: str) -> Path:
    """The endpoint's file in the state folder's `scaling`."""
    return folder / f"{endpoint}.jsonl"


def append(path: Path, minute: Minute) -> None:
    """Adds one minute."""
    path.parent.mkdir(parents=True, exist_ok=True)
    line = {
        "at": minute.at,
        "backlog": minute.backlog,
        "instances": minute.instances,
        "desired": minute.desired,
        "decision": minute.decision.reason if minute.decision else "",
        "alarms": minute.alarms,
    }
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def read(path: Path) -> list[Recorded]:
    """All whole lines so far; none where there is no file yet."""
    if not path.exists():
        return []
    lines = [line for line in path.read_text(encoding="utf-8").splitlines(keepends=True) if line.endswith("\n")]
    return [Recorded(**json.loads(line)) for line in lines]
