"""The IAM action that an S3 request needs (service authorization reference, "Actions ... for Amazon S3")."""

from __future__ import annotations

from collections.abc import Mapping

# Sub-resource in the query -> what follows Get, Put and Delete in the action's name.
_BUCKET = {
    "accelerate": "AccelerateConfiguration",
    "acl": "BucketAcl",
    "cors": "BucketCORS",
    "encryption": "EncryptionConfiguration",
    "lifecycle": "LifecycleConfiguration",
    "location": "BucketLocation",
    "logging": "BucketLogging",
    "notification": "BucketNotification",
    "object-lock": "BucketObjectLockConfiguration",
    "ownershipControls": "BucketOwnershipControls",
    "policy": "BucketPolicy",
    "policyStatus": "BucketPolicyStatus",
    "publicAccessBlock": "BucketPublicAccessBlock",
    "replication": "ReplicationConfiguration",
    "tagging": "BucketTagging",
    "versioning": "BucketVersioning",
    "website": "BucketWebsite",
}
_OBJECT = {
    "acl": "ObjectAcl",
    "attributes": "ObjectAttributes",
    "legal-hold": "ObjectLegalHold",
    "retention": "ObjectRetention",
    "tagging": "ObjectTagging",
}
_VERBS = {"GET": "Get", "HEAD": "Get", "PUT": "Put", "POST": "Put", "DELETE": "Delete"}
# Only these have an action of their own for removing the setting; all else needs the one for putting it.
_DELETABLE = frozenset({"BucketPolicy", "BucketWebsite", "ObjectTagging"})


def bucket_action(method: str, query: Mapping[str, object]) -> str:
    """The action for a request to a bucket."""
    for name, subject in _BUCKET.items():
        if name in query:
            return f"s3:{_verb(method, subject)}{subject}"
    if "uploads" in query:
        return "s3:ListBucketMultipartUploads"
    if "versions" in query:
        return "s3:ListBucketVersions"
    if "delete" in query:
        return "s3:DeleteObject"
    return {"PUT": "s3:CreateBucket", "DELETE": "s3:DeleteBucket", "POST": "s3:PutObject"}.get(method, "s3:ListBucket")


def object_action(method: str, query: Mapping[str, object]) -> str:
    """The action for a request to an object."""
    if "uploadId" in query and method in ("GET", "DELETE"):
        return "s3:ListMultipartUploadParts" if method == "GET" else "s3:AbortMultipartUpload"
    for name, subject in _OBJECT.items():
        if name in query:
            return f"s3:{_verb(method, subject)}{subject}"
    version = "Version" if "versionId" in query and method in ("GET", "HEAD", "DELETE") else ""
    return f"s3:{_VERBS.get(method, 'Get')}Object{version}"


def _verb(method: str, subject: str) -> str:
    verb = _VERBS.get(method, "Get")
    return "Put" if verb == "Delete" and subject not in _DELETABLE else verb
