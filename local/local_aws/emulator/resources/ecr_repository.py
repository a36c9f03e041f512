"""AWS::ECR::Repository."""

from __future__ import annotations

from local_aws.emulator.resources.base import Context, Handler, Outcome, Properties, document, require_known

_KNOWN = frozenset({"ImageTagMutability", "LifecyclePolicy", "RepositoryName", "RepositoryPolicyText"})


class Repository(Handler):
    """A container registry's repository (CDK's bootstrap stack has one); `Ref` is its name."""

    types = ("AWS::ECR::Repository",)
    immutable = frozenset({"RepositoryName"})

    def create(self, context: Context, properties: Properties) -> Outcome:
        name = properties.get("RepositoryName") or context.new_name(256, lower=True)
        context.client("ecr").create_repository(repositoryName=name)
        return self.update(context, name, {}, properties)

    def update(self, context: Context, physical_id: str, old: Properties, new: Properties) -> Outcome:
        require_known(new, _KNOWN)
        ecr = context.client("ecr")
        mutability = new.get("ImageTagMutability", "MUTABLE")
        ecr.put_image_tag_mutability(repositoryName=physical_id, imageTagMutability=mutability)
        if "LifecyclePolicy" in new:
            text = new["LifecyclePolicy"]["LifecyclePolicyText"]
            ecr.put_lifecycle_policy(repositoryName=physical_id, lifecyclePolicyText=text)
        if "RepositoryPolicyText" in new:
            text = document(new["RepositoryPolicyText"])
            ecr.set_repository_policy(repositoryName=physical_id, policyText=text)
        arn = context.arn("ecr", f"repository/{physical_id}")
        uri = f"{arn.split(':')[4]}.dkr.ecr.{context.region}.amazonaws.com/{physical_id}"
        return Outcome(physical_id, {"Arn": arn, "RepositoryUri": uri})

    def delete(self, context: Context, physical_id: str, properties: Properties) -> None:
        context.client("ecr").delete_repository(repositoryName=physical_id)
