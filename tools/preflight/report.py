"""The result of a check, why AWS did not answer one, and how results are shown."""

import textwrap
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    CredentialRetrievalError,
    EndpointConnectionError,
    NoCredentialsError,
    ProxyConnectionError,
    ReadTimeoutError,
    SSLError,
    SSOError,
    TokenRetrievalError,
)

# The IAM action of each API operation that a check calls; docs/preflight.md grants exactly these.
ACTIONS = {
    "BatchGetImage": "ecr:BatchGetImage",
    "DescribeEndpoint": "sagemaker:DescribeEndpoint",
    "DescribeEndpointConfig": "sagemaker:DescribeEndpointConfig",
    "DescribeRegions": "ec2:DescribeRegions",
    "DescribeRouteTables": "ec2:DescribeRouteTables",
    "DescribeScalableTargets": "application-autoscaling:DescribeScalableTargets",
    "DescribeSecret": "secretsmanager:DescribeSecret",
    "DescribeSecurityGroups": "ec2:DescribeSecurityGroups",
    "DescribeSubnets": "ec2:DescribeSubnets",
    "DescribeVpcEndpoints": "ec2:DescribeVpcEndpoints",
    "GetCallerIdentity": "sts:GetCallerIdentity",
    "GetObject": "s3:GetObject",
    "GetParameter": "ssm:GetParameter",
    "ListAWSDefaultServiceQuotas": "servicequotas:ListAWSDefaultServiceQuotas",
    "ListRequestedServiceQuotaChangeHistoryByQuota": "servicequotas:ListRequestedServiceQuotaChangeHistoryByQuota",
    "ListServiceQuotas": "servicequotas:ListServiceQuotas",
}

_DENIED = {"AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "Forbidden", "403"}
_THROTTLED = {"Throttling", "ThrottlingException", "TooManyRequestsException", "RequestLimitExceeded", "SlowDown"}
_EXPIRED = {"ExpiredToken", "ExpiredTokenException", "RequestExpired", "TokenRefreshRequired"}
_REJECTED = {
    "AuthFailure",
    "InvalidAccessKeyId",
    "InvalidClientTokenId",
    "SignatureDoesNotMatch",
    "UnrecognizedClientException",
}
_UNREACHABLE = (EndpointConnectionError, ConnectTimeoutError, ReadTimeoutError, SSLError, ProxyConnectionError)
_NO_CREDENTIALS = (NoCredentialsError, CredentialRetrievalError, SSOError, TokenRetrievalError)

_WIDTH = 118


class Status(StrEnum):
    """PASS: as the stack needs it. FAIL: a deployment would fail. UNKNOWN: cannot be checked from here."""

    PASS = "pass"
    FAIL = "fail"
    UNKNOWN = "unknown"


_MARKS = {Status.PASS: "✓", Status.FAIL: "✗", Status.UNKNOWN: "\N{EN DASH}"}


@dataclass(frozen=True)
class Check:
    """One row: what was checked, the result, what was found, and what to do about a failure."""

    name: str
    status: Status
    detail: str
    remedy: str = ""


def passed(name: str, detail: str) -> Check:
    """Return a ✓."""
    return Check(name, Status.PASS, detail)


def failed(name: str, detail: str, remedy: str) -> Check:
    """Return a ✗, which always has a remedy."""
    return Check(name, Status.FAIL, detail, remedy)


def unknown(name: str, why: str, remedy: str = "") -> Check:
    """Return a row that says why it says nothing."""
    return Check(name, Status.UNKNOWN, f"cannot be checked: {why}", remedy)


def run(name: str, check: Callable[[], list[Check]]) -> list[Check]:
    """Return the rows of `check`; an exception becomes the row `name` with its reason."""
    try:
        return check()
    except Exception as error:  # whatever AWS answers, the other rows are worth having
        return [explain(name, error)]


def explain(name: str, error: Exception) -> Check:
    """Return the row for a check that `error` ended: FAIL where the credentials do not work, else UNKNOWN."""
    if isinstance(error, _NO_CREDENTIALS):
        return failed(name, f"no usable credentials: {error}", "configure them: `aws configure` or `aws sso login`")
    if isinstance(error, _UNREACHABLE):
        return unknown(name, f"AWS is not reachable from this machine: {error}")
    if isinstance(error, ClientError):
        return _explain_answer(name, error)
    if isinstance(error, BotoCoreError):
        return unknown(name, str(error))
    return unknown(name, f"unexpected {type(error).__name__}: {error}", "report this with the whole line")


def error_code(error: ClientError) -> str:
    """Return the service's error code, such as `AccessDeniedException`."""
    return str(error.response.get("Error", {}).get("Code", ""))


def is_denied(error: ClientError) -> bool:
    """Return whether the credentials lack the permission for the call."""
    return error_code(error) in _DENIED


def action_of(error: ClientError) -> str:
    """Return the IAM action of the failed call."""
    return ACTIONS.get(error.operation_name, error.operation_name)


def _explain_answer(name: str, error: ClientError) -> Check:
    code = error_code(error)
    if code in _DENIED:
        action = action_of(error)
        return unknown(name, f"{action} is denied to these credentials", f"allow {action} (docs/preflight.md)")
    if code in _EXPIRED:
        return failed(name, f"the credentials have expired ({code})", "renew them, for example with `aws sso login`")
    if code in _REJECTED:
        remedy = "check the access key and the profile; for a region that is not enabled, see the row `region`"
        return failed(name, f"AWS rejects the credentials ({code})", remedy)
    if code in _THROTTLED:
        return unknown(name, f"AWS throttles {action_of(error)} ({code})", "run it again in a minute")
    return unknown(name, f"{action_of(error)} failed: {code}: {error.response.get('Error', {}).get('Message', '')}")


def exit_code(checks: Sequence[Check]) -> int:
    """Return 1 if any check failed, else 0."""
    return int(any(check.status is Status.FAIL for check in checks))


def as_table(checks: Sequence[Check], cost: Sequence[tuple[str, str]]) -> str:
    """Return aligned columns: mark, name and finding, each remedy below its row, then what it costs."""
    width = max(len(name) for name in [*(check.name for check in checks), *(label for label, _ in cost)])
    lines: list[str] = []
    for check in checks:
        lines += _row(_MARKS[check.status], check.name, check.detail, width)
        lines += [_indented(line, width + 4) for line in _remedy(check)]
    lines += ["", "Cost"]
    for label, text in cost:
        lines += _row(" ", label, text, width)
    counts = {status: sum(check.status is status for check in checks) for status in Status}
    summary = ", ".join(f"{counts[status]} {_MARKS[status]}" for status in Status)
    return "\n".join([*lines, "", f"{summary} (cannot be checked)"])


def as_json(checks: Sequence[Check], cost: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """Return the same as a JSON object."""
    return {"ok": exit_code(checks) == 0, "checks": [asdict(check) for check in checks], "cost": dict(cost)}


def _row(mark: str, name: str, text: str, width: int) -> list[str]:
    start = f"{mark} {name:<{width}}  "
    return textwrap.wrap(
        text,
        _WIDTH,
        initial_indent=start,
        subsequent_indent=" " * len(start),
        break_long_words=False,
        break_on_hyphens=False,
    )


def _remedy(check: Check) -> list[str]:
    """Return the remedy's lines; a line is not wrapped, so that a command can be copied."""
    return [f"→ {line}" for line in check.remedy.splitlines()]


def _indented(line: str, by: int) -> str:
    return " " * by + line
