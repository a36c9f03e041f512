"""AWS::S3::BucketPolicy."""

from __future__ import annotations

from local_aws.emulator.resources.base import Context, Handler, Outcome, Properties, document


class BucketPolicy(Handler):
    """A bucket's policy; `Ref` is the bucket's name."""

    types = ("AWS::S3::BucketPolicy",)
    immutable = frozenset({"Bucket"})

    def create(self, context: Context, properties: Properties) -> Outcome:
        bucket = properties["Bucket"]
        context.client("s3").put_bucket_policy(Bucket=bucket, Policy=document(properties["PolicyDocument"]))
        return Outcome(bucket)

    def update(self, context: Context, physical_id: str, old: Properties, new: Properties) -> Outcome:
        return self.create(context, new)

    def delete(self, context: Context, physical_id: str, properties: Properties) -> None:
        context.client("s3").delete_bucket_policy(Bucket=physical_id)
