"""CDK's own template differ, `@aws-cdk/cloudformation-diff`, run by Node in one process for many pairs."""

import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stack_gate.errors import GateError

SCRIPT = Path(__file__).with_name("difference.js")
TIMEOUT_SECONDS = 300


@dataclass(frozen=True, kw_only=True)
class Change:
    """What happens to one resource.

    `impact` is CDK's word (WILL_UPDATE, WILL_REPLACE, ...) after following references from what is replaced and from
    custom resources that answer anew; `properties` gives it for each; `attributes` are changes beside the properties
    (DeletionPolicy, Metadata, ...); `causes` are the changed resources that this one refers to.
    """

    impact: str
    properties: dict[str, str]
    attributes: tuple[str, ...]
    causes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Every changed resource by logical id, and what CDK's differ says of permissions and of security groups."""

    changes: dict[str, Change] = field(default_factory=dict[str, Change])
    permissions_broadened: bool
    network_broadened: bool


def differences(pairs: Sequence[tuple[dict[str, Any], dict[str, Any]]]) -> list[Difference]:
    """Compare (base, head) templates. GateError with Node's words where it cannot."""
    try:
        done = subprocess.run(
            ["node", str(SCRIPT)], input=json.dumps(pairs), capture_output=True, text=True, timeout=TIMEOUT_SECONDS
        )
    except (FileNotFoundError, subprocess.TimeoutExpired) as error:
        raise GateError(f"the template differ could not run: {error}") from error
    if done.returncode != 0:
        raise GateError(f"the template differ failed:\n{done.stderr.strip()}")
    return [_difference(raw) for raw in json.loads(done.stdout)]


def _difference(raw: dict[str, Any]) -> Difference:
    changes = {
        logical_id: Change(
            impact=change["impact"],
            properties=change["properties"],
            attributes=tuple(change["attributes"]),
            causes=tuple(change["causes"]),
        )
        for logical_id, change in raw["resources"].items()
    }
    return Difference(
        changes=changes,
        permissions_broadened=raw["permissions_broadened"],
        network_broadened=raw["network_broadened"],
    )
