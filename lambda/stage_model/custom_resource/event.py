"""An event of `Custom::StagedModel`: where its response may go, what it repeats from the event, and what is malformed.

Events come from CloudFormation, but anyone who may invoke the function can send another one.
"""

import json
import os
import re
import socket
from collections.abc import Mapping
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any, cast
from urllib.parse import urlsplit

from stage_model.errors import StagingError
from stage_model.http import split_url
from stage_model.request import shown

_REQUEST_ID = re.compile(r"[A-Za-z0-9-]{1,128}")
# Printable ASCII without what JSON escapes, so that a response of these stays short.
_LOGICAL_ID = re.compile(r"[!#-\[\]-~]{1,255}")
_STACK_ID = re.compile(r"[!#-\[\]-~]{1,1024}")
_IDS = {"RequestId": _REQUEST_ID, "StackId": _STACK_ID, "LogicalResourceId": _LOGICAL_ID}
_PRINTABLE = re.compile(r"[!-~]+")
_MAX_URL = 8192  # characters; CloudFormation's have about 1,500, most of them a session token
MAX_PHYSICAL_ID = 1024  # CloudFormation's limit, in bytes


def check_response_url(event: object) -> None:
    """Raise StagingError unless the event has a ResponseURL that a response may be sent to.

    It must be https and not lead back into the function's own machine. Loopback is allowed where the AWS SDK is
    configured for it (`AWS_ENDPOINT_URL`), as in the embedded AWS.
    """
    url = cast(Mapping[str, object], event).get("ResponseURL") if isinstance(event, Mapping) else None
    if not isinstance(url, str) or len(url) > _MAX_URL or not _PRINTABLE.fullmatch(url):
        raise StagingError(f"ResponseURL must be an https URL of at most {_MAX_URL} characters, got {shown(url)}")
    host = split_url(url).hostname or ""
    if "@" in urlsplit(url).netloc:
        raise StagingError("ResponseURL must not hold a user name or password")
    if _is_local(host) and not _is_local(urlsplit(os.environ.get("AWS_ENDPOINT_URL", "")).hostname or ""):
        raise StagingError(f"ResponseURL must not be on this machine, got the host {host}")


def check_event(event: Mapping[str, Any]) -> None:
    """Raise StagingError unless the ids that a response must repeat are those of a CloudFormation request."""
    for name, pattern in _IDS.items():
        value = event.get(name)
        if not isinstance(value, str) or not pattern.fullmatch(value):
            raise StagingError(f"{name} must match {pattern.pattern}, got {shown(value)}")
    if not isinstance(event.get("ResourceProperties"), Mapping):
        raise StagingError(f"ResourceProperties must be an object, got {shown(event.get('ResourceProperties'))}")


def properties_of(event: Mapping[str, Any]) -> Mapping[str, object]:
    """Return the resource's properties, none if they are malformed."""
    found = event.get("ResourceProperties")
    return cast(Mapping[str, object], found) if isinstance(found, Mapping) else {}


def physical_id_of(event: Mapping[str, Any]) -> str:
    """Return the physical id in the event, or an empty string if it has none that a response may repeat."""
    found = event.get("PhysicalResourceId")
    return found if isinstance(found, str) and len(json.dumps(found)) - 2 <= MAX_PHYSICAL_ID else ""


def repeated_ids(event: Mapping[str, Any]) -> dict[str, str]:
    """Return the ids that the response repeats; malformed ones are left out, since CloudFormation did not send them."""
    found = {name: event.get(name) for name in _IDS}
    return {name: value for name, value in found.items() if isinstance(value, str) and _IDS[name].fullmatch(value)}


def _is_local(host: str) -> bool:
    """Return whether a host is a name or address, however written, of loopback, this host or a link-local service."""
    name = host.rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    address = _address(name)
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    address = mapped or address
    return address is not None and (address.is_loopback or address.is_unspecified or address.is_link_local)


def _address(host: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(host.partition("%")[0])
    except ValueError:
        pass
    try:
        return IPv4Address(socket.inet_aton(host))  # forms that resolvers accept too, such as 127.1 and 0x7f000001
    except (OSError, ValueError):
        return None
