"""What the gate finds: one sentence each, with the class whose label lets it pass."""

from dataclasses import asdict, dataclass
from typing import Any

CLASSES = {
    "replace": "data or the endpoint is destroyed or replaced",
    "broaden": "somebody may do something new, or it cannot be decided that nobody may",
    "exposure": "public access, transport, encryption or isolation gets weaker",
    "retention": "data, versions or logs are kept for another time, or go at another moment",
    "money": "idle or peak cost rises",
    "two-phase": "one deployment cannot do it",
    "unknown": "the gate has no rules for it",
}


def label(class_name: str) -> str:
    """The pull request's label that lets a class pass."""
    return f"gate:{class_name}"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that must not pass without its label.

    `resource` is a construct path or logical id, empty for what concerns the whole stack; `what` says what changes,
    `why` why that matters; `example` is a request that the change newly allows, where there is one.
    """

    class_name: str
    resource: str
    what: str
    why: str
    example: str = ""

    def as_json(self) -> dict[str, Any]:
        """The finding with its label, for the JSON report."""
        return {**asdict(self), "label": label(self.class_name)}
