"""CDK's output folder, read into stacks; each asset as the list of its files with their hashes."""

import hashlib
import json
from pathlib import Path
from typing import Any

from stack_gate.template import Stack

PIP_NOTES = ("RECORD", "INSTALLER", "REQUESTED", "direct_url.json")  # what pip says of itself, by its version


def read_assembly(folder: Path) -> list[Stack]:
    """Every stack of a cloud assembly."""
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    artifacts = manifest.get("artifacts", {}).items()
    return [
        _stack(folder, name, artifact)
        for name, artifact in artifacts
        if artifact.get("type") == "aws:cloudformation:stack"
    ]


def _stack(folder: Path, name: str, artifact: dict[str, Any]) -> Stack:
    properties = artifact["properties"]
    account, _, region = artifact.get("environment", "").removeprefix("aws://").partition("/")
    return Stack(
        name=properties.get("stackName", name),
        template=json.loads((folder / properties["templateFile"]).read_text(encoding="utf-8")),
        region="" if region == "unknown-region" else region,
        account="" if account == "unknown-account" else account,
        termination_protection=bool(properties.get("terminationProtection")),
        assets=_assets(folder, folder / f"{name}.assets.json"),
    )


def _assets(folder: Path, manifest: Path) -> dict[str, dict[str, str]]:
    """{asset: {file: sha256}}, by the name that CDK shows; the template itself is no asset here."""
    if not manifest.exists():
        return {}
    files = json.loads(manifest.read_text(encoding="utf-8")).get("files", {})
    return {
        _name(entry, digest): _listing(folder / entry["source"]["path"])
        for digest, entry in files.items()
        if not entry.get("source", {}).get("path", "").endswith(".template.json")
    }


def _name(entry: dict[str, Any], digest: str) -> str:
    return entry.get("displayName", digest).removesuffix(" Code").removesuffix("/Code")


def _listing(source: Path) -> dict[str, str]:
    if source.is_file():
        return {source.name.partition(".")[2]: _sha256(source)}
    paths = sorted(path for path in source.rglob("*") if path.is_file() and path.name not in PIP_NOTES)
    return {path.relative_to(source).as_posix(): _sha256(path) for path in paths}


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
