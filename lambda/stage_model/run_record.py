"""The record of one CloudFormation request in the bucket: who works on it, how far it got, how it ended.

One object per request under `<KeyPrefix>runs/`, replaced only by conditional writes, is lease and journal in one:

    running ──► done ──► answered         `done` holds the answer, so it can be sent again after a crash
       └──────► superseded                a later request of the resource has ended this one

Lambda delivers events at least once and may run them twice at a time; CloudFormation asks a resource for one thing at a
time. So whoever holds the lease works, everyone else waits or leaves, and a later request ends what still runs. Records
are never deleted here, for a late duplicate must find them; a lifecycle rule lets them expire.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Literal
from urllib.parse import parse_qs, urlsplit

from stage_model.errors import StagingError

State = Literal["running", "done", "answered", "superseded"]
RUNS = "runs/"


@dataclass(frozen=True)
class RunRecord:
    """A request's record.

    `logical_id` names the resource in its template. `issued` (when CloudFormation made the request), `lease_until` and
    `started` are seconds. `journal` (how far staging got) and `answer` are JSON values.
    """

    request_id: str
    logical_id: str
    state: State
    issued: float
    owner: str
    lease_until: float
    started: float
    journal: Mapping[str, Any] | None = None
    answer: Mapping[str, Any] | None = None

    def to_bytes(self) -> bytes:
        """Return the record as it is stored."""
        return json.dumps(asdict(self)).encode()


def issued_at(response_url: str) -> float | None:
    """Return when CloudFormation signed a ResponseURL, in seconds that are comparable for one resource, or None.

    Requests carry no time and may be delivered in any order; a Create that arrives after the Delete that followed it
    must not stage. The signature tells: `X-Amz-Date` (version 4), or `Expires` (version 2), a fixed time later.
    """
    fields = parse_qs(urlsplit(response_url).query)
    try:
        if "X-Amz-Date" in fields:
            signed = datetime.strptime(fields["X-Amz-Date"][0], "%Y%m%dT%H%M%SZ")
            return signed.replace(tzinfo=UTC).timestamp()
        return float(fields["Expires"][0])
    except (KeyError, ValueError):
        return None


def parse_record(data: bytes) -> RunRecord:
    """Return a stored record. Raises StagingError for anything else."""
    try:
        return RunRecord(**json.loads(data))
    except (ValueError, TypeError) as error:
        raise StagingError(f"a run's record must be as this function writes it, got {error}") from error
