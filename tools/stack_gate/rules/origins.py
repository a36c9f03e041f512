"""Where code, images, data, keys and messages come from and go to: from and to this stack, or elsewhere.

A row of `foreign` in rules.toml names the properties, at any depth, whose new values must refer to a resource of this
stack. A custom resource with a ServiceToken from outside does not count: its attributes come from there.
"""

import json
import re
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any

from stack_gate.diff.properties import ValueChange
from stack_gate.diff.stacks import StackDiff
from stack_gate.findings import Finding
from stack_gate.rules.tables import Foreign, foreign_rows, stack_finding
from stack_gate.template import (
    Json,
    Resolver,
    Stack,
    as_list,
    canonical,
    is_list,
    is_object,
    objects,
    referenced_id,
    same,
)

CUSTOM = ("Custom::*", "AWS::CloudFormation::CustomResource")
IMAGE_TABLE = Path(__file__).parents[3] / "infra" / "config" / "image_registries.json"
_SUB_PREFIX = re.compile(r"(?:s3://)?\$\{([A-Za-z0-9]+)(?:\.[A-Za-z0-9.]+)?\}(?:/|$)")
# CDK's bootstrap bucket for assets, in the account and region of the stack.
_ASSET_BUCKET = re.compile(r"cdk-[a-z0-9]{1,10}-assets-(⟦AWS::AccountId⟧|\d{12})-([a-z0-9-]+|⟦AWS::Region⟧)")


def find_foreign_origins(diff: StackDiff) -> Iterator[Finding]:
    """Find new values of the properties in `foreign` rows that do not refer to a resource of the stack."""
    for logical_id, resource in diff.head.resources.items():
        rows = [row for row in foreign_rows() if row.covers(resource["Type"])]
        before = _values(diff.base.resources.get(logical_id, {}).get("Properties", {}))
        for path, value in _values(resource.get("Properties", {})).items():
            name = next((step for step in reversed(path) if not step.isdigit()), "")
            unchanged = path in before and same(before[path], value)
            for row in rows:
                if name in row.keys and (not unchanged or _became_foreign(value, diff, row)):
                    yield from _judge(row, path, before.get(path), value, diff, logical_id)


def _became_foreign(value: Json, diff: StackDiff, row: Foreign) -> bool:
    """Return whether the same reference was the base's own and is no longer the head's."""
    return is_own(value, diff.base, row.own) and not is_own(value, diff.head, row.own)


def _judge(
    row: Foreign, path: tuple[str, ...], old: Json, new: Json, diff: StackDiff, logical_id: str
) -> Iterator[Finding]:
    if _is_known(new, diff.head, row) or (row.own and is_own(new, diff.head, row.own)):
        return
    what = ValueChange(path, old, new).describe()
    yield Finding(class_name=row.class_name, resource=diff.head.display(logical_id), what=what, why=row.why)


def _values(node: Json, path: tuple[str, ...] = ()) -> dict[tuple[str, ...], Json]:
    """Return every property and list item by its path, innermost ones and functions as a whole."""
    found: dict[tuple[str, ...], Json] = {}
    items = list(node.items()) if is_object(node) and not _is_function(node) else []
    if is_list(node):
        items = [(str(index), item) for index, item in enumerate(node)]
    for key, item in items:
        found |= _values(item, (*path, str(key)))
    return found if items else {path: node}


def _is_function(node: dict[str, Json]) -> bool:
    return len(node) == 1 and next(iter(node)).startswith(("Ref", "Fn::"))


def _is_known(value: Json, stack: Stack, row: Foreign) -> bool:
    """Return whether a value is one that the row allows by its text."""
    text = Resolver(stack).text(value) if not is_list(value) else ""
    if any(fnmatchcase(text, pattern) for pattern in row.allowed):
        return True
    return {
        "": lambda: False,
        "image": lambda: is_known_image(text, stack.region),
        "asset key": lambda: is_asset_key(value, stack),
        "asset bucket": lambda: _ASSET_BUCKET.fullmatch(text) is not None and text.endswith(stack.region),
    }[row.check]()


def is_own(value: Json, stack: Stack, types: Sequence[str]) -> bool:
    """Return whether a value refers to a resource of these types in the stack, or to a path below one."""
    logical_id = _referenced_prefix(value)
    type_name = stack.type_of(logical_id)
    if not any(fnmatchcase(type_name, pattern) for pattern in types):
        return False
    if not any(fnmatchcase(type_name, pattern) for pattern in CUSTOM):
        return True
    return is_own(stack.properties(logical_id).get("ServiceToken"), stack, ("AWS::Lambda::Function",))


def _referenced_prefix(value: Json) -> str:
    """Return the logical id that a reference, or a path such as `s3://<bucket>/prefix`, starts with."""
    if not is_object(value) or len(value) != 1:
        return ""
    function, argument = next(iter(value.items()))
    if function == "Fn::Join" and is_list(argument) and len(argument) == 2 and argument[0] == "":
        parts = as_list(argument[1])
        parts = parts[1:] if parts and parts[0] in ("", "s3://") else parts
        ends = len(parts) == 1 or (len(parts) > 1 and isinstance(parts[1], str) and parts[1].startswith("/"))
        return referenced_id(parts[0]) if ends else ""
    if function == "Fn::Sub" and isinstance(argument, str):
        found = _SUB_PREFIX.match(argument)
        return found.group(1) if found else ""
    return referenced_id(value)


def is_known_image(image: str, region: str) -> bool:
    """Return whether an image is the repository of the gate's own table, in the stack's region."""
    table = _image_table()
    account = table["accounts"].get(region)
    if account is None:
        return False
    domain = next((name for prefix, name in table["domains"].items() if region.startswith(prefix)), "amazonaws.com")
    name = re.escape(f"{account}.dkr.ecr.{region}.{domain}/{table['repository']}")
    return re.fullmatch(rf"{name}(:[\w.-]{{1,128}}|@sha256:[0-9a-f]{{64}})", image) is not None


@cache
def _image_table() -> dict[str, Any]:
    return json.loads(IMAGE_TABLE.read_text(encoding="utf-8"))


def is_asset_key(value: Json, stack: Stack) -> bool:
    """Return whether a value is the object key of an asset that the deployment uploads."""
    if not isinstance(value, str):
        return False
    if stack.asset_keys is None:  # a deployed template comes without its manifest
        return re.fullmatch(r"[0-9a-f]{64}\.(zip|json)", value) is not None
    return value in stack.asset_keys


def find_macros(diff: StackDiff) -> Iterator[Finding]:
    """Find functions that rewrite the template at deployment, and entries that are no resource."""
    for part in ("Resources", "Outputs", "Conditions", "Mappings", "Parameters"):
        before = {canonical(item) for _, item in _macros(diff.base.template.get(part))}
        for path, item in _macros(diff.head.template.get(part)):
            if canonical(item) not in before:
                where = ".".join([part, *path]).removeprefix("Resources.")
                yield stack_finding("macro", resource=where, what=f"a macro: {canonical(item)[:160]}")
    for logical_id in diff.head.malformed:
        if diff.head.template["Resources"][logical_id] != diff.base.template.get("Resources", {}).get(logical_id):
            yield stack_finding("unknown_part", resource=logical_id, what="an entry of Resources that is no resource")


def _macros(node: Json) -> Iterator[tuple[tuple[str, ...], Json]]:
    for path, found in objects(node):
        for key, value in found.items():
            if key == "Fn::Transform" or str(key).startswith("Fn::ForEach"):
                yield path, {key: value}
