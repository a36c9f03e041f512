"""What S3 refuses in a bucket policy, whatever the caller's permissions.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucket-policies.html
"""

from collections.abc import Mapping
from typing import Any

from local_aws.emulator.iam.policies import statements_of

MAX_BYTES = 20 * 1024


def check(document: bytes, bucket: str) -> None:
    """Raise ValueError unless the policy's statements say who may do what with this bucket or its objects."""
    try:
        statements = statements_of(document)
    except (ValueError, AttributeError) as error:
        raise ValueError("Policies must be valid JSON and the first byte must be '{'") from error
    if not statements:
        raise ValueError("Missing required field Statement")
    for statement in statements:
        _check_statement(statement, f"arn:aws:s3:::{bucket}")


def _check_statement(statement: Mapping[str, Any], arn: str) -> None:
    if statement.get("Effect") not in ("Allow", "Deny"):
        raise ValueError("Missing required field Effect")
    for kind in ("Principal", "Action", "Resource"):
        if not (statement.get(kind) or statement.get(f"Not{kind}")):
            raise ValueError(f"Missing required field {kind}")
    resources: Any = statement.get("Resource") or []
    for resource in [resources] if isinstance(resources, str) else resources:
        # Wildcards in the bucket's name are allowed as long as they match this bucket; none of this stack's has any.
        if resource != "*" and resource != arn and not resource.startswith((f"{arn}/", f"{arn}*")):
            raise ValueError("Policy has invalid resource")
