"""The controller's minutes as a file of JSON lines, which `make local` and the tests read."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from local_aws.autoscaling.rules.controller import Minute

FOLDER = "scaling"  # inside the state folder


@dataclass(frozen=True)
class RecordedMinute:
    """One line of the file; `at` in seconds of the controller's clock, `decision` empty without one.

    `alarms` are states by alarm name.
    """

    at: float
    backlog: int
    instances: int
    desired: int
    decision: str
    alarms: dict[str, str]


def path_of(folder: Path, endpoint: str) -> Path:
    return folder / f"{endpoint}.jsonl"


def append(path: Path, minute: Minute) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    reason = minute.decision.reason if minute.decision else ""
    line = RecordedMinute(minute.at, minute.backlog, minute.instances, minute.desired, reason, {**minute.alarms})
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(asdict(line)) + "\n")


def read(path: Path) -> list[RecordedMinute]:
    """Return all complete lines so far; none if the file does not exist yet."""
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    return [RecordedMinute(**json.loads(line)) for line in lines if line.endswith("\n")]
