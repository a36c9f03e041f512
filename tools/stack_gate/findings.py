"""Findings, and the classes of change whose label lets them pass."""

import hashlib
from dataclasses import asdict, dataclass
from typing import Any

CLASSES = {
    "gate": "it changes how changes are judged, built or deployed",
    "replace": "data or the endpoint is destroyed or replaced",
    "broaden": "someone gains access, or the gate cannot rule it out",
    "exposure": "public access, TLS, encryption or isolation is weakened",
    "retention": "data, versions or logs are kept for a different time",
    "money": "idle or peak cost rises",
    "service": "requests wait longer, fail or are never answered",
    "two-phase": "it takes two deployments",
    "unknown": "the gate has no rules for it",
}


def label(class_name: str) -> str:
    """Return the pull request label that lets a class pass."""
    return f"gate:{class_name}"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One change that needs a label.

    `resource` is a construct path or logical id, empty if the finding is about the whole stack; `what` is the change,
    `why` the reason it matters, and `example` a request that the change newly allows, if any. `digest` identifies the
    finding with both versions of what it is about, so that an approval covers these and no others.
    """

    class_name: str
    resource: str
    what: str
    why: str
    example: str = ""
    digest: str = ""

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "label": label(self.class_name)}


def digest_of(*parts: str) -> str:
    """Return 16 hexadecimal digits that identify these texts, in this order."""
    joined = "".join(f"{len(part)}:{part}" for part in parts)
    return hashlib.sha256(joined.encode(errors="surrogatepass")).hexdigest()[:16]
