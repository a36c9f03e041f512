"""CloudWatch Logs: what PutRetentionPolicy and PutLogEvents refuse, and the order of FilterLogEvents.

https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_PutRetentionPolicy.html
https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_PutLogEvents.html
"""

import itertools
from typing import Any, cast

from moto.core.exceptions import JsonRESTError
from moto.logs.models import LogsBackend

_RETENTION_DAYS = frozenset(
    {1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653}
)
_MAX_SPAN = 24 * 3600 * 1000  # milliseconds


def install() -> None:
    """Wrap moto's checks."""
    backend = cast(Any, LogsBackend)
    put_policy, put_events = backend.put_retention_policy, backend.put_log_events
    filter_events = backend.filter_log_events

    def put_retention_policy(self: Any, log_group_name: str, retention_in_days: Any) -> None:
        if int(retention_in_days) not in _RETENTION_DAYS:
            raise _invalid(f"retentionInDays must be one of {sorted(_RETENTION_DAYS)}, got {retention_in_days}")
        put_policy(self, log_group_name, retention_in_days)

    def put_log_events(self: Any, log_group_name: str, log_stream_name: str, log_events: list[dict[str, Any]]) -> Any:
        times = [int(event["timestamp"]) for event in log_events]
        if any(later < earlier for earlier, later in itertools.pairwise(times)):
            raise _invalid("log events in a single PutLogEvents request must be in chronological order")
        if times and times[-1] - times[0] > _MAX_SPAN:
            raise _invalid("the batch of log events in a single PutLogEvents request cannot span more than 24 hours")
        return put_events(self, log_group_name, log_stream_name, log_events)

    def filter_log_events(self: Any, *arguments: Any) -> Any:
        return filter_events(self, *arguments[:-1], True)  # interleaved: ordered by time across streams, always

    backend.put_retention_policy, backend.put_log_events = put_retention_policy, put_log_events
    backend.filter_log_events = filter_log_events


def _invalid(message: str) -> JsonRESTError:
    return JsonRESTError("InvalidParameterException", message)
