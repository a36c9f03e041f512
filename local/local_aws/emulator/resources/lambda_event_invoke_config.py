"""AWS::Lambda::EventInvokeConfig."""

from __future__ import annotations

from local_aws.emulator.resources.base import Context, Handler, Outcome, Properties, ResourceFailedError, require_known
from local_aws.emulator.resources.conform import call

_KNOWN = frozenset({"FunctionName", "MaximumEventAgeInSeconds", "MaximumRetryAttempts", "Qualifier"})


class EventInvokeConfig(Handler):
    """How often and how long Lambda tries an asynchronous invocation; `Ref` is a name that CloudFormation makes up."""

    types = ("AWS::Lambda::EventInvokeConfig",)
    immutable = frozenset({"FunctionName", "Qualifier"})

    def create(self, context: Context, properties: Properties) -> Outcome:
        require_known(properties, _KNOWN)
        if properties.get("Qualifier", "$LATEST") != "$LATEST":
            raise ResourceFailedError(f"Qualifier must be $LATEST, got {properties['Qualifier']}")
        settings = {key: value for key, value in properties.items() if key != "Qualifier"}
        call(context, "lambda", "PutFunctionEventInvokeConfig", settings)
        return Outcome(context.new_name())

    def update(self, context: Context, physical_id: str, old: Properties, new: Properties) -> Outcome:
        self.delete(context, physical_id, old)  # moto adds a second setting instead of changing the first
        self.create(context, new)
        return Outcome(physical_id)

    def delete(self, context: Context, physical_id: str, properties: Properties) -> None:
        context.client("lambda").delete_function_event_invoke_config(FunctionName=properties["FunctionName"])
