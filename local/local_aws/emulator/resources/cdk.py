"""AWS::CDK::Metadata."""

from local_aws.emulator.resources.base import Context, Handler, Outcome, Properties


class Metadata(Handler):
    """CDK's usage report; creates nothing in the account."""

    types = ("AWS::CDK::Metadata",)

    def update(self, context: Context, physical_id: str, old: Properties, new: Properties) -> Outcome:
        return Outcome(physical_id)

    def delete(self, context: Context, physical_id: str, properties: Properties) -> None:
        return None
