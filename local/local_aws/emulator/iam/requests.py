"""What a request to the embedded AWS asks for: actions, resource ARNs and condition keys."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qs, unquote

from local_aws.emulator.account import ACCOUNT_ID
from local_aws.emulator.iam.policies import Access
from local_aws.emulator.iam.s3_actions import bucket_action, object_action

# API operations whose IAM action has another name.
_RENAMED = {"lambda:Invoke": "lambda:InvokeFunction", "lambda:InvokeAsync": "lambda:InvokeFunction"}


def needed_access(response: Any, service: str, hint: str) -> list[Access]:
    """The permissions that a request needs, read from moto's `response`; `hint` is moto's idea of the resource."""
    shared = {
        "aws:securetransport": "true" if str(response.uri).startswith("https:") else "false",
        "aws:requestedregion": str(response.region),
        "aws:resourceaccount": ACCOUNT_ID,
        "s3:resourceaccount": ACCOUNT_ID,
        "aws:principalaccount": ACCOUNT_ID,
    }
    if service == "s3":
        return _s3(response, hint, shared)
    name = f"{service}:{response._get_action()}"
    find_resource = _RESOURCES.get(service)
    resource = find_resource(response) if find_resource else None
    context = shared | _conditions(response, name)
    return [Access(_RENAMED.get(name, name), resource or hint, context)]


def _s3(response: Any, hint: str, shared: Mapping[str, str]) -> list[Access]:
    query = parse_qs(response.parsed_url.query, keep_blank_values=True)
    name = hint.partition(":::")[2]
    if name in ("", "*"):
        return [Access("s3:ListAllMyBuckets", "*", shared)]
    if "/" in name:
        found = [Access(object_action(response.method, query), hint, shared)]
        source = response.headers.get("x-amz-copy-source")
        if source:
            path = unquote(source).lstrip("/").partition("?")[0]
            found.append(Access("s3:GetObject", f"arn:aws:s3:::{path}", shared))
        return found
    keys = {f"s3:{key}": query[key][0] for key in ("prefix", "delimiter", "max-keys") if key in query}
    return [Access(bucket_action(response.method, query), hint, {**shared, **keys})]


def _conditions(response: Any, name: str) -> dict[str, str]:
    if name == "cloudwatch:PutMetricData":
        return {"cloudwatch:namespace": str(response._get_param("Namespace") or "")}
    return {}


def _arn(response: Any, service: str, resource: str) -> str:
    return f"arn:aws:{service}:{response.region}:{ACCOUNT_ID}:{resource}"


def _sns(response: Any) -> str | None:
    return response._get_param("TopicArn") or response._get_param("TargetArn") or response._get_param("ResourceArn")


def _logs(response: Any) -> str | None:
    group = response._get_param("logGroupName")
    if not group:
        return None
    stream = response._get_param("logStreamName")
    return _arn(response, "logs", f"log-group:{group}:log-stream:{stream}" if stream else f"log-group:{group}:*")


def _lambda(response: Any) -> str | None:
    _, found, rest = str(response.path).partition("/functions/")
    name = unquote(rest.partition("/")[0])
    if not found or not name:
        return None
    return name if name.startswith("arn:") else _arn(response, "lambda", f"function:{name}")


def _secrets_manager(response: Any) -> str | None:
    from moto.secretsmanager.models import secretsmanager_backends

    wanted = response._get_param("SecretId")
    secrets = secretsmanager_backends[ACCOUNT_ID][response.region].secrets
    secret = secrets.get(wanted) if wanted else None
    return secret.arn if secret else wanted


def _sagemaker(response: Any) -> str | None:
    parts = str(response.path).strip("/").split("/")
    name = parts[1] if parts[0] == "endpoints" and len(parts) > 1 else response._get_param("EndpointName")
    return _arn(response, "sagemaker", f"endpoint/{unquote(name).lower()}") if name else None


def _sts(response: Any) -> str | None:
    return response._get_param("RoleArn")


def _ssm(response: Any) -> str | None:
    name = response._get_param("Name")
    return _arn(response, "ssm", f"parameter/{name.lstrip('/')}") if name else None


_RESOURCES: Mapping[str, Callable[[Any], str | None]] = {
    "lambda": _lambda,
    "logs": _logs,
    "sagemaker": _sagemaker,
    "secretsmanager": _secrets_manager,
    "sns": _sns,
    "ssm": _ssm,
    "sts": _sts,
}
