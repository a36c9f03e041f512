"""An OpenID Connect issuer, such as GitHub, that signs tokens for jobs of CI."""

import time
from typing import Any

from joserfc import jwt
from joserfc.jwk import KeySet, RSAKey

from local_aws.emulator.process import LocalAws

GITHUB = "https://token.actions.githubusercontent.com"


class TokenIssuer:
    """An issuer with one key."""

    def __init__(self, url: str = GITHUB) -> None:
        self.url = url
        self._key = RSAKey.generate_key(2048, {"kid": "one"})

    def trusted_by(self, aws: LocalAws) -> None:
        """Let the embedded AWS know the public key."""
        aws.trust_issuer(self.url, dict(KeySet([self._key]).as_dict(private=False)))

    def token(
        self, subject: str, *, audience: str = "sts.amazonaws.com", expires_in: float = 300, **claims: Any
    ) -> str:
        """Return a signed token of a job with this subject."""
        now = int(time.time())
        content = {"iss": self.url, "sub": subject, "aud": audience, "iat": now, "exp": now + expires_in, **claims}
        return jwt.encode({"alg": "RS256", "kid": "one"}, content, self._key)


def assume(aws: LocalAws, role_arn: str, token: str, **parameters: Any) -> dict[str, Any]:
    """Return the credentials that the token gives, as STS's answer has them."""
    sts = aws.client("sts")
    answer = sts.assume_role_with_web_identity(
        RoleArn=role_arn, RoleSessionName="job", WebIdentityToken=token, **parameters
    )
    return answer["Credentials"]


def client_with(aws: LocalAws, service: str, credentials: dict[str, Any]) -> Any:
    """Return a boto3 client with a session's credentials."""
    keys = (credentials[name] for name in ("AccessKeyId", "SecretAccessKey", "SessionToken"))
    return aws.client_as(service, *keys)
