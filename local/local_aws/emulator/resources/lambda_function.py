"""AWS::Lambda::Function."""

from __future__ import annotations

import io
import zipfile
from typing import Any

from local_aws.emulator.resources.base import Context, Handler, Outcome, Properties, require_known
from local_aws.emulator.resources.conform import call

_CONFIGURATION = frozenset(
    {
        "Description",
        "Environment",
        "EphemeralStorage",
        "Handler",
        "LoggingConfig",
        "MemorySize",
        "Role",
        "Runtime",
        "Timeout",
        "TracingConfig",
    }
)
# RecursiveLoop has nothing to allow here: no chain of invocations is ever cut.
_KNOWN = _CONFIGURATION | {
    "Architectures",
    "Code",
    "FunctionName",
    "RecursiveLoop",
    "ReservedConcurrentExecutions",
    "Tags",
}
# What Lambda assumes where a property was taken away.
_DEFAULTS: dict[str, Any] = {"Description": "", "Environment": {"Variables": {}}, "MemorySize": 128, "Timeout": 3}


class Function(Handler):
    """A function from a zip; `Ref` is its name."""

    types = ("AWS::Lambda::Function",)
    immutable = frozenset({"FunctionName", "PackageType"})

    def create(self, context: Context, properties: Properties) -> Outcome:
        require_known(properties, _KNOWN)
        name = properties.get("FunctionName") or context.new_name()
        settings = {key: properties[key] for key in _CONFIGURATION | {"Architectures"} if key in properties}
        settings["Tags"] = {tag["Key"]: tag["Value"] for tag in properties.get("Tags", [])}
        settings["Code"] = _code(properties)
        call(context, "lambda", "CreateFunction", {"FunctionName": name, **settings})
        _reserve(context, name, properties)
        return _outcome(context, name)

    def update(self, context: Context, physical_id: str, old: Properties, new: Properties) -> Outcome:
        require_known(new, _KNOWN)
        if any(old.get(key) != new.get(key) for key in ("Architectures", "Code", "Runtime")):
            code = {"FunctionName": physical_id, "Architectures": new.get("Architectures", ["x86_64"]), **_code(new)}
            call(context, "lambda", "UpdateFunctionCode", code)
        settings = {key: new.get(key, _DEFAULTS.get(key)) for key in _CONFIGURATION if old.get(key) != new.get(key)}
        settings = {key: value for key, value in settings.items() if value is not None}
        if settings:
            call(context, "lambda", "UpdateFunctionConfiguration", {"FunctionName": physical_id, **settings})
        _retag(context, physical_id, old, new)
        _reserve(context, physical_id, new)
        return _outcome(context, physical_id)

    def delete(self, context: Context, physical_id: str, properties: Properties) -> None:
        context.client("lambda").delete_function(FunctionName=physical_id)


def _outcome(context: Context, name: str) -> Outcome:
    return Outcome(name, {"Arn": context.arn("lambda", f"function:{name}")})


def _code(properties: Properties) -> dict[str, Any]:
    code = dict(properties["Code"])
    if "ZipFile" not in code:
        return code
    # CloudFormation takes the source itself here and names the file after the handler's default module.
    suffix = "js" if str(properties["Runtime"]).startswith("nodejs") else "py"
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr(f"index.{suffix}", code["ZipFile"])
    return {"ZipFile": archive.getvalue()}


def _reserve(context: Context, name: str, properties: Properties) -> None:
    if "ReservedConcurrentExecutions" in properties:
        count = int(properties["ReservedConcurrentExecutions"])
        context.client("lambda").put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=count)


def _retag(context: Context, name: str, old: Properties, new: Properties) -> None:
    functions, arn = context.client("lambda"), context.arn("lambda", f"function:{name}")
    if old.get("Tags"):
        functions.untag_resource(Resource=arn, TagKeys=[tag["Key"] for tag in old["Tags"]])
    if new.get("Tags"):
        functions.tag_resource(Resource=arn, Tags={tag["Key"]: tag["Value"] for tag in new["Tags"]})
