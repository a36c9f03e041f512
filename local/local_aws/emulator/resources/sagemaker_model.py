"""AWS::SageMaker::Model and AWS::SageMaker::EndpointConfig: what SageMaker cannot change once it is made."""

from __future__ import annotations

from typing import Any, ClassVar

from local_aws.emulator.resources.base import Context, Handler, Outcome, Properties
from local_aws.emulator.resources.conform import call


class _Immutable(Handler):
    """Created and deleted only; `Ref` is the ARN, the name an attribute."""

    kind: ClassVar[str]

    def replaces(self, old: Properties, new: Properties) -> list[str]:
        return sorted(name for name in {*old, *new} if old.get(name) != new.get(name) and name != "Tags")

    def create(self, context: Context, properties: Properties) -> Outcome:
        name = properties.get(f"{self.kind}Name") or context.new_name(63)
        arn = call(context, "sagemaker", f"Create{self.kind}", {**properties, f"{self.kind}Name": name})[
            f"{self.kind}Arn"
        ]
        return self._outcome(arn)

    def update(self, context: Context, physical_id: str, old: Properties, new: Properties) -> Outcome:
        retag(context, physical_id, old, new)
        return self._outcome(physical_id)

    def delete(self, context: Context, physical_id: str, properties: Properties) -> None:
        call(context, "sagemaker", f"Delete{self.kind}", {f"{self.kind}Name": name_of(physical_id)})

    def _outcome(self, arn: str) -> Outcome:
        return Outcome(arn, {f"{self.kind}Name": name_of(arn)})


class Model(_Immutable):
    """A model: image, model data, environment and execution role."""

    types = ("AWS::SageMaker::Model",)
    kind = "Model"


class EndpointConfig(_Immutable):
    """An endpoint configuration."""

    types = ("AWS::SageMaker::EndpointConfig",)
    kind = "EndpointConfig"


def name_of(arn: str) -> str:
    """The name at the end of a SageMaker ARN."""
    return arn.rpartition("/")[2]


def retag(context: Context, arn: str, old: Properties, new: Properties) -> None:
    """Replace a SageMaker resource's tags."""
    sagemaker: Any = context.client("sagemaker")
    if old.get("Tags"):
        sagemaker.delete_tags(ResourceArn=arn, TagKeys=[tag["Key"] for tag in old["Tags"]])
    if new.get("Tags"):
        sagemaker.add_tags(ResourceArn=arn, Tags=list(new["Tags"]))
