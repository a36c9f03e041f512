"""AWS::SSM::Parameter."""

from __future__ import annotations

from local_aws.emulator.resources.base import Context, Handler, Outcome, Properties, require_known
from local_aws.emulator.resources.conform import call

_KNOWN = frozenset({"Description", "Name", "Type", "Value"})


class Parameter(Handler):
    """A parameter of the parameter store; `Ref` is its name."""

    types = ("AWS::SSM::Parameter",)
    immutable = frozenset({"Name"})

    def create(self, context: Context, properties: Properties) -> Outcome:
        return self.update(context, properties.get("Name") or context.new_name(), {}, properties)

    def update(self, context: Context, physical_id: str, old: Properties, new: Properties) -> Outcome:
        require_known(new, _KNOWN)
        call(context, "ssm", "PutParameter", {**new, "Name": physical_id, "Overwrite": True})
        return Outcome(physical_id, {"Type": new["Type"], "Value": new["Value"]})

    def delete(self, context: Context, physical_id: str, properties: Properties) -> None:
        context.client("ssm").delete_parameter(Name=physical_id)
