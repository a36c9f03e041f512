"""Presigned S3 addresses (Signature Version 4 in the query): whose they are, and whether they still hold."""

from __future__ import annotations

import datetime as dt
import hmac
from typing import Any
from urllib.parse import parse_qs

from botocore.auth import S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from moto.s3.exceptions import S3AccessDeniedError, S3InvalidAccessKeyIdError, S3SignatureDoesNotMatchError
from moto.sts.models import AssumedRole, sts_backends

from local_aws.emulator.account import ACCOUNT_ID

_DATE = "%Y%m%dT%H%M%SZ"


def presigned_by(response: Any) -> AssumedRole:
    """The role session that signed the address that moto's `response` answers; S3's own error if it does not hold."""
    query = {name: values[0] for name, values in parse_qs(response.parsed_url.query).items()}
    key_id, _, region, service, _ = query["X-Amz-Credential"].split("/")
    session = sts_backends[ACCOUNT_ID]["aws"].get_assumed_role_from_access_key(key_id)
    if session is None or session.session_token != query.get("X-Amz-Security-Token"):
        raise S3InvalidAccessKeyIdError()
    signed = dt.datetime.strptime(query["X-Amz-Date"], _DATE).replace(tzinfo=dt.UTC)
    if dt.datetime.now(dt.UTC) > signed + dt.timedelta(seconds=int(query["X-Amz-Expires"])):
        raise S3AccessDeniedError()
    credentials = Credentials(session.access_key_id, session.secret_access_key, session.session_token)
    signer: Any = S3SigV4QueryAuth(credentials, service, region)
    if not hmac.compare_digest(_signature(signer, response, query), query.get("X-Amz-Signature", "")):
        raise S3SignatureDoesNotMatchError()
    return session


def _signature(signer: Any, response: Any, query: dict[str, str]) -> str:
    names = query["X-Amz-SignedHeaders"].split(";")
    pairs = [pair for pair in response.parsed_url.query.split("&") if not pair.startswith("X-Amz-Signature=")]
    request: Any = AWSRequest(
        method=response.method,
        url=f"https://{response.headers['Host']}{response.raw_path}?{'&'.join(pairs)}",
        headers={name: response.headers.get(name, "") for name in names},
    )
    request.context["timestamp"] = query["X-Amz-Date"]
    return signer.signature(signer.string_to_sign(request, signer.canonical_request(request)), request)
