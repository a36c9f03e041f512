"""AWS::ECR::Repository."""

from local_aws.emulator.account import ACCOUNT_ID
from local_aws.emulator.resources.base import Context, Handler, Outcome, Properties, pick, policy_json


class Repository(Handler):
    """A container image repository (CDK's bootstrap stack has one); `Ref` is its name."""

    types = ("AWS::ECR::Repository",)
    properties = frozenset({"ImageTagMutability", "LifecyclePolicy", "RepositoryName", "RepositoryPolicyText"})
    immutable = frozenset({"RepositoryName"})

    def create(self, context: Context, properties: Properties) -> Outcome:
        name = properties.get("RepositoryName") or context.new_name(256, lower=True)
        context.client("ecr").create_repository(repositoryName=name)
        return self.update(context, name, {}, properties)

    def update(self, context: Context, physical_id: str, old: Properties, new: Properties) -> Outcome:
        name = {"repositoryName": physical_id}
        mutability = new.get("ImageTagMutability", "MUTABLE")
        context.call("ecr", "PutImageTagMutability", {**name, "imageTagMutability": mutability})
        if "LifecyclePolicy" in new:
            context.call("ecr", "PutLifecyclePolicy", {**name, **pick(new["LifecyclePolicy"], "LifecyclePolicyText")})
        if "RepositoryPolicyText" in new:
            policy = policy_json(new["RepositoryPolicyText"])
            context.call("ecr", "SetRepositoryPolicy", {**name, "policyText": policy})
        uri = f"{ACCOUNT_ID}.dkr.ecr.{context.region}.amazonaws.com/{physical_id}"
        return Outcome(physical_id, {"Arn": context.arn("ecr", f"repository/{physical_id}"), "RepositoryUri": uri})

    def delete(self, context: Context, physical_id: str, properties: Properties) -> None:
        context.client("ecr").delete_repository(repositoryName=physical_id)
