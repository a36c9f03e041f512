"""AWS::SSM::Parameter."""

from local_aws.emulator.resources.base import Context, Handler, Outcome, Properties


class Parameter(Handler):
    """`Ref` is the parameter's name."""

    types = ("AWS::SSM::Parameter",)
    name = ("Name", 64)
    properties = frozenset({"Description", "Name", "Type", "Value"})
    immutable = frozenset({"Name"})

    def update(self, context: Context, physical_id: str, old: Properties, new: Properties) -> Outcome:
        context.call("ssm", "PutParameter", {**new, "Name": physical_id, "Overwrite": True})
        return Outcome(physical_id, {"Type": new["Type"], "Value": new["Value"]})

    def delete(self, context: Context, physical_id: str, properties: Properties) -> None:
        context.client("ssm").delete_parameter(Name=physical_id)
