"""AssumeRoleWithWebIdentity: verify an OpenID Connect token, and evaluate the trust policy of the role it asks for.

AWS fetches an issuer's keys from the issuer's discovery document. There is no network here, so they come from
`issuers.json` in the state folder: an object of JSON Web Key Sets by issuer, which `LocalAws.trust_issuer` writes.
"""

# pyright: reportPrivateUsage=false
# (moto keeps the reading of parameters private)

import json
import time
from typing import Any

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet
from moto.core.exceptions import _RESTError
from moto.iam.exceptions import NotFoundException
from moto.iam.models import OpenIDConnectProvider, iam_backends

from local_aws.emulator import clients
from local_aws.emulator.account import ACCOUNT_ID, ISSUERS
from local_aws.emulator.iam.assume_role import check_session
from local_aws.emulator.iam.conditions import UnsupportedConditionError
from local_aws.emulator.iam.context_keys import request_context
from local_aws.emulator.iam.policies import Access, Caller, Verdict
from local_aws.emulator.iam.sessions import trust_verdict

ACTION = "sts:AssumeRoleWithWebIdentity"
_ALGORITHMS = ["RS256"]
_MAX_TOKEN = 20_000  # characters, as STS documents


def authorize(response: Any) -> None:
    """Return if the token may have a session of the role that it asks for; raise STS's error if not."""
    role_arn, token = (str(response._get_param(name) or "") for name in ("RoleArn", "WebIdentityToken"))
    claims = _verified_claims(token)
    provider = _provider_of(str(claims.get("iss", "")))
    audience = _audience(claims, provider)
    context = {
        **request_context(response),
        f"{provider.url}:sub".lower(): str(claims.get("sub", "")),
        f"{provider.url}:aud".lower(): audience,
        "aws:federatedprovider": provider.arn,
        "sts:rolesessionname": str(response._get_param("RoleSessionName") or ""),
    }
    caller = Caller((provider.arn,), "", is_federated=True)
    try:
        verdict = trust_verdict(role_arn, Access(ACTION, role_arn, context), caller)
    except NotFoundException:
        verdict = Verdict.DENIED
    except UnsupportedConditionError as error:
        print(f"denied {ACTION} on {role_arn}: {error}", flush=True)
        verdict = Verdict.DENIED
    if verdict is not Verdict.ALLOWED:
        print(f"{claims.get('sub')} is not authorized to perform: {ACTION} on {role_arn}", flush=True)
        raise _refusal(403, "AccessDenied", f"Not authorized to perform {ACTION}")
    check_session(response, chained=False)


def _verified_claims(token: str) -> dict[str, Any]:
    """Return the claims of a token that one of its issuer's keys has signed and that has not expired."""
    if not 4 <= len(token) <= _MAX_TOKEN:
        raise _refusal(400, "ValidationError", f"WebIdentityToken must have 4 to {_MAX_TOKEN} characters")
    file = clients.runtime().state / ISSUERS
    issuers: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    for issuer, keys in issuers.items():
        try:
            claims = jwt.decode(token, KeySet.import_key_set(keys), algorithms=_ALGORITHMS).claims
        except (JoseError, ValueError):
            continue
        if claims.get("iss") == issuer:
            break
    else:
        raise _refusal(400, "InvalidIdentityToken", "Couldn't retrieve verification key from your identity provider")
    now, expires = time.time(), claims.get("exp")
    if not isinstance(expires, int | float):
        raise _refusal(400, "InvalidIdentityToken", "The token has no claim exp")
    if expires <= now:
        raise _refusal(400, "ExpiredTokenException", f"Token expired: current date/time {now:.0f} must be before exp")
    return claims


def _provider_of(issuer: str) -> OpenIDConnectProvider:
    for provider in iam_backends[ACCOUNT_ID]["aws"].open_id_providers.values():
        if f"https://{provider.url}".rstrip("/") == issuer.rstrip("/"):
            return provider
    raise _refusal(400, "InvalidIdentityToken", f"No OpenIDConnect provider found in your account for {issuer}")


def _audience(claims: dict[str, Any], provider: OpenIDConnectProvider) -> str:
    found: Any = claims.get("aud")
    for audience in [found] if isinstance(found, str) else list(found or []):
        if audience in provider.client_id_list:
            return str(audience)
    raise _refusal(400, "InvalidIdentityToken", "Incorrect token audience")


def _refusal(status: int, code: str, message: str) -> Exception:
    error: Any = _RESTError(code, message)
    error.code = status
    return error
