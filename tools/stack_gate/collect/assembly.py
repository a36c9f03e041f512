"""Read a cloud assembly (CDK's output folder), which a revision's own code wrote: nothing in it is trusted.

Stages nest assemblies, and nested stacks are templates among the assets; all of them deploy, so all are read.
"""

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from stack_gate import GateError
from stack_gate.template import Json, Stack, as_list, as_object, is_object

STACK, NESTED_ASSEMBLY, ASSET_MANIFEST = "aws:cloudformation:stack", "cdk:cloud-assembly", "cdk:asset-manifest"
KNOWN_ARTIFACTS = (STACK, NESTED_ASSEMBLY, ASSET_MANIFEST, "cdk:tree", "cdk:feature-flag-report")
MAX_BYTES = 64 << 20
MAX_DEPTH = 5
# Properties of a stack's artifact that are no part of how it deploys, or that Stack holds itself.
_NOT_DEPLOYMENT = (
    "templateFile",
    "stackName",
    "terminationProtection",
    "validateOnSynth",
    "stackTemplateAssetObjectUrl",
)
_PIP_FILES = ("RECORD", "INSTALLER", "REQUESTED", "direct_url.json")  # differ between versions of pip


def read_assembly(folder: Path) -> list[Stack]:
    """Return every stack of an assembly, of its nested assemblies and its nested stacks.

    Raise GateError if there is none, or if the assembly is malformed or names files outside itself.
    """
    stacks = list(_stacks(folder, folder.resolve(), 0))
    if not stacks:
        raise GateError("the app synthesised no stack: there is nothing to judge")
    names = [stack.name for stack in stacks]
    repeated = sorted({name for name in names if names.count(name) > 1})
    # Stages may deploy one stack name to several accounts or regions; the differ pairs stacks by name.
    return [
        replace(stack, name=f"{stack.name} ({stack.account or 'any'} {stack.region or 'any'} {index})")
        if stack.name in repeated
        else stack
        for index, stack in enumerate(stacks, 1)
    ]


def _stacks(folder: Path, root: Path, depth: int) -> Iterator[Stack]:
    if depth > MAX_DEPTH:
        raise GateError(f"the assembly nests more than {MAX_DEPTH} assemblies")
    for name, artifact in as_object(_read_json(root, folder / "manifest.json").get("artifacts")).items():
        kind, properties = str(as_object(artifact).get("type")), as_object(as_object(artifact).get("properties"))
        if kind == NESTED_ASSEMBLY:
            yield from _stacks(folder / str(properties.get("directoryName", name)), root, depth + 1)
        elif kind == STACK:
            yield from _stack(folder, root, str(name), as_object(artifact), properties)
        elif kind not in KNOWN_ARTIFACTS:
            raise GateError(f"the assembly has an artifact {name} of type {kind}, which the gate does not read")


def _stack(
    folder: Path, root: Path, name: str, artifact: dict[str, Json], properties: dict[str, Json]
) -> Iterator[Stack]:
    account, _, region = str(artifact.get("environment", "")).removeprefix("aws://").partition("/")
    template_file = str(properties.get("templateFile"))
    manifest = folder / f"{name}.assets.json"
    entries = as_object(_read_json(root, manifest).get("files")) if manifest.exists() else {}
    stack_name = str(properties.get("stackName", name))
    region, account = region.removeprefix("unknown-region"), account.removeprefix("unknown-account")
    asset_keys = _asset_keys(entries) if manifest.exists() else None
    yield Stack(
        name=stack_name,
        region=region,
        account=account,
        template=_read_json(root, folder / template_file),
        termination_protection=bool(properties.get("terminationProtection")),
        assets=_read_assets(root, folder, entries),
        asset_keys=asset_keys,
        deployment=_deployment(artifact, properties, entries),
    )
    for entry in map(as_object, entries.values()):
        path = str(as_object(entry.get("source")).get("path", ""))
        if path.endswith(".template.json") and path != template_file:
            nested = _read_json(root, folder / path)
            shown = f"{stack_name}/{path.removesuffix('.template.json')}"
            yield Stack(name=shown, template=nested, region=region, account=account, asset_keys=asset_keys)


def _asset_keys(entries: dict[str, Json]) -> list[str]:
    """Return the object keys under which the deployment uploads the stack's assets."""
    destinations = (as_object(as_object(entry).get("destinations")) for entry in entries.values())
    return sorted({str(as_object(one).get("objectKey")) for several in destinations for one in several.values()})


def _deployment(artifact: dict[str, Json], properties: dict[str, Json], entries: dict[str, Json]) -> dict[str, Json]:
    """Return how the stack deploys besides its template: roles, tags, parameters, notifications, where assets go."""
    kept = {name: value for name, value in properties.items() if name not in _NOT_DEPLOYMENT}
    destinations = [
        {name: value for name, value in as_object(destination).items() if name != "objectKey"}
        for entry in map(as_object, entries.values())
        for destination in as_object(entry.get("destinations")).values()
    ]
    kept["assetDestinations"] = [
        json.loads(text) for text in sorted({json.dumps(one, sort_keys=True) for one in destinations})
    ]
    tags = [
        tag
        for listed in as_object(artifact.get("metadata")).values()
        for entry in map(as_object, as_list(listed))
        if entry.get("type") == "aws:cdk:stack-tags"
        for tag in as_list(entry.get("data"))
    ]
    if tags and "tags" not in kept:
        kept["tags"] = {str(as_object(tag).get("Key", as_object(tag).get("key"))): tag for tag in tags}
    return {name: value for name, value in kept.items() if value not in (None, [], {})}


def _read_assets(root: Path, folder: Path, entries: dict[str, Json]) -> dict[str, dict[str, str]]:
    """Return {display name of an asset: {file: sha256}}, without templates."""
    assets: dict[str, dict[str, str]] = {}
    for digest, entry in entries.items():
        path = str(as_object(as_object(entry).get("source")).get("path", ""))
        if path.endswith(".template.json"):
            continue
        source = _inside(root, folder / path)
        if source.is_file():
            files = {source.name.partition(".")[2]: _sha256(source)}
        else:
            paths = sorted(path for path in _walk(source) if path.name not in _PIP_FILES)
            files = {path.relative_to(source).as_posix(): _sha256(_inside(root, path)) for path in paths}
        name = str(as_object(entry).get("displayName", digest)).removesuffix(" Code").removesuffix("/Code")
        assets[name if name not in assets else f"{name} {digest[:12]}"] = files
    return assets


def _walk(folder: Path) -> Iterator[Path]:
    """Yield the files of a folder; links to folders are listed, not followed."""
    for parent, folders, names in os.walk(folder):
        for name in [*names, *(name for name in folders if Path(parent, name).is_symlink())]:
            yield Path(parent, name)


def _inside(root: Path, path: Path) -> Path:
    """Return the path. Raise GateError if it leads out of the assembly, by its name or through a link."""
    if not path.resolve().is_relative_to(root):
        raise GateError(f"the assembly refers to {path.name}, which leads out of it")
    return path


def _read_json(root: Path, path: Path) -> dict[str, Any]:
    try:
        source = _inside(root, path)
        if not source.is_file() or source.stat().st_size > MAX_BYTES:
            raise GateError(f"the assembly's {path.name} must be a file of at most {MAX_BYTES >> 20} MiB")
        value = json.loads(source.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise GateError(f"the assembly's {path.name} could not be read as JSON: {error}") from error
    if not is_object(value):
        raise GateError(f"the assembly's {path.name} must be a JSON object")
    return value


def _sha256(path: Path) -> str:
    if path.is_dir():
        return f"link to {path.readlink()}"
    if not path.is_file():
        raise GateError(f"the assembly's {path.name} must be a file")
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
