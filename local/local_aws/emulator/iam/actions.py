"""Derive the IAM actions, resource ARNs and condition keys that a request needs."""

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qs, unquote

from moto.secretsmanager.models import secretsmanager_backends

from local_aws.emulator.account import ACCOUNT_ID
from local_aws.emulator.iam.context_keys import request_context
from local_aws.emulator.iam.policies import Access, Context

# API operations whose IAM action has another name.
_RENAMED = {"lambda:Invoke": "lambda:InvokeFunction", "lambda:InvokeAsync": "lambda:InvokeFunction"}

# Services that sign with another name than their IAM actions have.
_PREFIXES = {"monitoring": "cloudwatch"}

# Operations that hand a role to their service -> the parameter with its ARN.
_PASSED_ROLES = {
    "cloudformation:CreateChangeSet": "RoleARN",
    "cloudformation:CreateStack": "RoleARN",
    "cloudformation:DeleteStack": "RoleARN",
    "cloudformation:UpdateStack": "RoleARN",
    "lambda:CreateFunction": "Role",
    "lambda:UpdateFunctionConfiguration": "Role",
    "sagemaker:CreateModel": "ExecutionRoleArn",
}

# S3 sub-resource in the query -> what follows Get, Put or Delete in the action's name (service authorization reference,
# "Actions, resources, and condition keys for Amazon S3").
_BUCKET_SUBRESOURCES = {
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
_OBJECT_SUBRESOURCES = {
    "acl": "ObjectAcl",
    "attributes": "ObjectAttributes",
    "legal-hold": "ObjectLegalHold",
    "retention": "ObjectRetention",
    "tagging": "ObjectTagging",
}
_VERBS = {"GET": "Get", "HEAD": "Get", "PUT": "Put", "POST": "Put", "DELETE": "Delete"}
# Only these have a Delete action; removing any other setting needs the Put action.
_DELETABLE = frozenset({"BucketPolicy", "BucketWebsite", "ObjectTagging"})


def required_access(response: Any, service: str, hint: str) -> list[Access]:
    """Return the permissions that a request needs, from moto's `response`; `hint` is the resource as moto sees it."""
    context = request_context(response)
    if service == "s3":
        return _s3_access(response, hint, context)
    service = _PREFIXES.get(service, service)
    action = f"{service}:{response._get_action()}"
    if action == "cloudwatch:PutMetricData":
        context["cloudwatch:namespace"] = str(response._get_param("Namespace") or "")
    find_resource = _RESOURCES.get(service)
    resource = find_resource(response) if find_resource else None
    if action == "sts:AssumeRole":
        names = {"sts:externalid": "ExternalId", "sts:rolesessionname": "RoleSessionName"}
        context |= {key: str(response._get_param(name)) for key, name in names.items() if response._get_param(name)}
    found = [Access(_RENAMED.get(action, action), resource or hint, context)]
    parameter = _PASSED_ROLES.get(action)
    role = response._get_param(parameter) if parameter else None
    if role:
        found.append(Access("iam:PassRole", role, {**context, "iam:passedtoservice": f"{service}.amazonaws.com"}))
    return found


def _s3_access(response: Any, hint: str, context: Context) -> list[Access]:
    query = parse_qs(response.parsed_url.query, keep_blank_values=True)
    headers = {str(name).lower(): str(value) for name, value in response.headers.items()}
    names = [name for name in headers if name.startswith("x-amz-") or name in ("if-match", "if-none-match")]
    context = {**context, **{f"s3:{name}": headers[name] for name in names}}
    if "versionId" in query:
        context = {**context, "s3:versionid": query["versionId"][0]}
    name = hint.partition(":::")[2]
    if name in ("", "*"):
        return [Access("s3:ListAllMyBuckets", "*", context)]
    if "/" in name:
        found = [Access(s3_object_action(response.method, query), hint, context)]
        source = response.headers.get("x-amz-copy-source")
        if source:
            path = unquote(source).lstrip("/").partition("?")[0]
            found.append(Access("s3:GetObject", f"arn:aws:s3:::{path}", context))
        return found
    keys = {f"s3:{key}": query[key][0] for key in ("prefix", "delimiter", "max-keys") if key in query}
    return [Access(s3_bucket_action(response.method, query), hint, {**context, **keys})]


def s3_bucket_action(method: str, query: Mapping[str, object]) -> str:
    """Return the action of a request to a bucket."""
    for name, subject in _BUCKET_SUBRESOURCES.items():
        if name in query:
            return f"s3:{_verb(method, subject)}{subject}"
    if "uploads" in query:
        return "s3:ListBucketMultipartUploads"
    if "versions" in query:
        return "s3:ListBucketVersions"
    if "delete" in query:
        return "s3:DeleteObject"
    return {"PUT": "s3:CreateBucket", "DELETE": "s3:DeleteBucket", "POST": "s3:PutObject"}.get(method, "s3:ListBucket")


def s3_object_action(method: str, query: Mapping[str, object]) -> str:
    """Return the action of a request to an object."""
    if "uploadId" in query and method in ("GET", "DELETE"):
        return "s3:ListMultipartUploadParts" if method == "GET" else "s3:AbortMultipartUpload"
    for name, subject in _OBJECT_SUBRESOURCES.items():
        if name in query:
            return f"s3:{_verb(method, subject)}{subject}"
    version = "Version" if "versionId" in query and method in ("GET", "HEAD", "DELETE") else ""
    return f"s3:{_VERBS.get(method, 'Get')}Object{version}"


def _verb(method: str, subject: str) -> str:
    verb = _VERBS.get(method, "Get")
    return "Put" if verb == "Delete" and subject not in _DELETABLE else verb


def _arn(response: Any, service: str, resource: str) -> str:
    return f"arn:aws:{service}:{response.region}:{ACCOUNT_ID}:{resource}"


def _sns(response: Any) -> str | None:
    return response._get_param("TopicArn") or response._get_param("TargetArn") or response._get_param("ResourceArn")


def _logs(response: Any) -> str | None:
    group, stream = response._get_param("logGroupName"), response._get_param("logStreamName")
    if not group:  # as AWS's refusals name the resource of DescribeLogGroups
        return (
            _arn(response, "logs", "log-group::log-stream:") if response._get_action() == "DescribeLogGroups" else None
        )
    return _arn(response, "logs", f"log-group:{group}:log-stream:{stream}" if stream else f"log-group:{group}:*")


def _cloudformation(response: Any) -> str | None:
    stack = response._get_param("StackName")
    if not stack or stack.startswith("arn:"):
        return stack
    return _arn(response, "cloudformation", f"stack/{stack}/*")  # a name does not say which stack of that name


def _lambda(response: Any) -> str | None:
    _, found, rest = str(response.path).partition("/functions/")
    name = unquote(rest.partition("/")[0])
    if not found or not name:
        return None
    return name if name.startswith("arn:") else _arn(response, "lambda", f"function:{name}")


def _secrets_manager(response: Any) -> str | None:
    secret_id = response._get_param("SecretId")
    secrets = secretsmanager_backends[ACCOUNT_ID][response.region].secrets
    secret = secrets.get(secret_id) if secret_id else None
    return secret.arn if secret else secret_id


def _sagemaker(response: Any) -> str | None:
    parts = str(response.path).strip("/").split("/")
    name = parts[1] if parts[0] == "endpoints" and len(parts) > 1 else response._get_param("EndpointName")
    return _arn(response, "sagemaker", f"endpoint/{unquote(name).lower()}") if name else None


def _ssm(response: Any) -> str | None:
    name = response._get_param("Name")
    return _arn(response, "ssm", f"parameter/{name.lstrip('/')}") if name else None


_RESOURCES: Mapping[str, Callable[[Any], str | None]] = {
    "cloudformation": _cloudformation,
    "lambda": _lambda,
    "logs": _logs,
    "sagemaker": _sagemaker,
    "secretsmanager": _secrets_manager,
    "sns": _sns,
    "ssm": _ssm,
    "sts": lambda response: response._get_param("RoleArn"),
}
