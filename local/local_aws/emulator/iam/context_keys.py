"""Condition keys: what a request says about itself, for the policies that are evaluated against it."""

# pyright: reportPrivateUsage=false, reportUnknownVariableType=false, reportUnknownMemberType=false, reportUnknownArgumentType=false
# (moto keeps the reading of parameters private; requests are JSON)

import datetime as dt
from typing import Any

from local_aws.emulator.account import ACCOUNT_ID

# Keys that the embedded AWS supplies whenever AWS would, so that their absence means something. AWS omits many of them
# in requests of role sessions, outside of organisations and of VPC endpoints.
_KNOWN = frozenset(
    {
        "aws:calledvia",
        "aws:currenttime",
        "aws:epochtime",
        "aws:federatedprovider",
        "aws:multifactorauthage",
        "aws:multifactorauthpresent",
        "aws:principalaccount",
        "aws:principalarn",
        "aws:principalisawsservice",
        "aws:principalorgid",
        "aws:principaltype",
        "aws:requestedregion",
        "aws:resourceaccount",
        "aws:securetransport",
        "aws:sourceaccount",
        "aws:sourcearn",
        "aws:sourceidentity",
        "aws:sourceip",
        "aws:sourceorgid",
        "aws:sourceowner",
        "aws:sourcevpc",
        "aws:sourcevpce",
        "aws:tagkeys",
        "aws:userid",
        "aws:username",
        "aws:viaawsservice",
        "aws:vpcsourceip",
        "cloudwatch:namespace",
        "iam:passedtoservice",
        "s3:delimiter",
        "s3:if-match",
        "s3:if-none-match",
        "s3:max-keys",
        "s3:prefix",
        "s3:resourceaccount",
        "s3:versionid",
        "sts:externalid",
        "sts:rolesessionname",
    }
)
_KNOWN_PREFIXES = ("aws:principaltag/", "aws:requesttag/", "s3:x-amz-")


def is_known(key: str) -> bool:
    """Return whether a key (in lower case) is absent from a request only if it is on AWS too."""
    return key in _KNOWN or key.startswith(_KNOWN_PREFIXES)


def request_context(response: Any) -> dict[str, str | tuple[str, ...]]:
    """Return the global keys of a request, from moto's `response`."""
    now = dt.datetime.now(dt.UTC)
    context: dict[str, str | tuple[str, ...]] = {
        "aws:securetransport": "true" if str(response.uri).startswith("https:") else "false",
        "aws:requestedregion": str(response.region),
        "aws:resourceaccount": ACCOUNT_ID,
        "s3:resourceaccount": ACCOUNT_ID,
        "aws:currenttime": now.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "aws:epochtime": str(int(now.timestamp())),
        "aws:sourceip": "127.0.0.1",  # the server listens nowhere else
        "aws:viaawsservice": "false",
        "aws:principalisawsservice": "false",
    }
    tags = _tags(response)
    if tags:
        context["aws:tagkeys"] = tuple(tags)
        context.update({f"aws:requesttag/{key.lower()}": value for key, value in tags.items()})
    return context


def _tags(response: Any) -> dict[str, str]:
    """Return the tags in a request's parameters, which services write as a list or as an object."""
    found: Any = response._get_param("Tags") or response._get_param("tags")
    if isinstance(found, dict):
        return {str(key): str(value) for key, value in found.items()}
    tags: dict[str, str] = {}
    for item in found if isinstance(found, list) else []:
        pair = {str(name).lower(): str(value) for name, value in item.items()}
        tags[pair.get("key", pair.get("tagkey", ""))] = pair.get("value", pair.get("tagvalue", ""))
    return tags
