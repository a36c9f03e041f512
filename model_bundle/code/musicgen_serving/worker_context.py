"""What is used of multi-model-server's context object (mms/context.py)."""

from typing import Any, Protocol


class WorkerContext(Protocol):
    """A worker's context: the model's folder at start, the requests' statuses later."""

    system_properties: dict[str, Any]

    def set_all_response_status(self, code: int, phrase: str) -> None:
        """Set the status of every request of the batch."""
        ...
