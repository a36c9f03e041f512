"""AWS::Lambda::Function and EventInvokeConfig."""

import io
import zipfile
from typing import Any

from local_aws.emulator.resources.base import Context, Handler, Outcome, Properties, ResourceFailedError, pick

_CONFIGURATION = (
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
)
_OTHER_PROPERTIES = ("Architectures", "Code", "FunctionName", "RecursiveLoop", "ReservedConcurrentExecutions", "Tags")
# Lambda's defaults for a property that was removed.
_DEFAULTS: dict[str, Any] = {"Description": "", "Environment": {"Variables": {}}, "MemorySize": 128, "Timeout": 3}


class Function(Handler):
    """A function from a zip; `Ref` is its name."""

    types = ("AWS::Lambda::Function",)
    taggable = True
    properties = frozenset({*_CONFIGURATION, *_OTHER_PROPERTIES})
    immutable = frozenset({"FunctionName", "PackageType"})

    def create(self, context: Context, properties: Properties) -> Outcome:
        name = properties.get("FunctionName") or context.new_name()
        settings = pick(properties, *_CONFIGURATION, "Architectures", "Tags")
        context.call("lambda", "CreateFunction", {**settings, "FunctionName": name, "Code": _code(properties)})
        return _finish(context, name, properties)

    def update(self, context: Context, physical_id: str, old: Properties, new: Properties) -> Outcome:
        if any(old.get(key) != new.get(key) for key in ("Architectures", "Code", "Runtime")):
            code = {"FunctionName": physical_id, "Architectures": new.get("Architectures", ["x86_64"]), **_code(new)}
            context.call("lambda", "UpdateFunctionCode", code)
        settings = {key: new.get(key, _DEFAULTS.get(key)) for key in _CONFIGURATION if old.get(key) != new.get(key)}
        settings = {key: value for key, value in settings.items() if value is not None}
        if settings:
            context.call("lambda", "UpdateFunctionConfiguration", {"FunctionName": physical_id, **settings})
        context.replace_tags("lambda", {"Resource": context.arn("lambda", f"function:{physical_id}")}, old, new)
        return _finish(context, physical_id, new)

    def delete(self, context: Context, physical_id: str, properties: Properties) -> None:
        context.client("lambda").delete_function(FunctionName=physical_id)


def _code(properties: Properties) -> dict[str, Any]:
    code = dict(properties["Code"])
    if "ZipFile" not in code:
        return code
    # Here CloudFormation takes the source itself and writes it to a file named `index`.
    suffix = "js" if str(properties["Runtime"]).startswith("nodejs") else "py"
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr(f"index.{suffix}", code["ZipFile"])
    return {"ZipFile": archive.getvalue()}


def _finish(context: Context, name: str, properties: Properties) -> Outcome:
    if "ReservedConcurrentExecutions" in properties:
        count = int(properties["ReservedConcurrentExecutions"])
        context.client("lambda").put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=count)
    loop = properties.get("RecursiveLoop", "Terminate")
    context.client("lambda").put_function_recursion_config(FunctionName=name, RecursiveLoop=loop)
    return Outcome(name, {"Arn": context.arn("lambda", f"function:{name}")})


class EventInvokeConfig(Handler):
    """Retries and maximum age of asynchronous invocations; `Ref` is a generated name."""

    types = ("AWS::Lambda::EventInvokeConfig",)
    properties = frozenset(
        {"DestinationConfig", "FunctionName", "MaximumEventAgeInSeconds", "MaximumRetryAttempts", "Qualifier"}
    )
    immutable = frozenset({"FunctionName", "Qualifier"})

    def create(self, context: Context, properties: Properties) -> Outcome:
        if properties.get("Qualifier", "$LATEST") != "$LATEST":
            raise ResourceFailedError(f"Qualifier must be $LATEST, got {properties['Qualifier']}")
        settings = pick(
            properties, "DestinationConfig", "FunctionName", "MaximumEventAgeInSeconds", "MaximumRetryAttempts"
        )
        context.call("lambda", "PutFunctionEventInvokeConfig", settings)
        return Outcome(context.new_name())

    def update(self, context: Context, physical_id: str, old: Properties, new: Properties) -> Outcome:
        self.create(context, new)
        return Outcome(physical_id)

    def delete(self, context: Context, physical_id: str, properties: Properties) -> None:
        context.client("lambda").delete_function_event_invoke_config(FunctionName=properties["FunctionName"])
