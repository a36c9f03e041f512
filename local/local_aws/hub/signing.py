"""Signed, expiring URLs of the CDN, in the form to which the Hub redirects."""

import hashlib
import hmac
import secrets
from collections.abc import Callable
from urllib.parse import parse_qs, quote, urlencode, urlsplit


class UrlSigner:
    """Signs and verifies `/repos/<repository>/<sha256>?Expires=…&Signature=…`; `clock` returns Unix time."""

    def __init__(self, repository: str, valid_seconds: float, clock: Callable[[], float]) -> None:
        self._repository = hashlib.sha256(repository.encode()).hexdigest()
        self._valid_seconds = valid_seconds
        self._clock = clock
        self._key = secrets.token_bytes(32)

    def sign(self, sha256: str, filename: str) -> str:
        """Return the path and query for an object, valid for `valid_seconds` from now."""
        path = f"/repos/{self._repository[:2]}/{self._repository}/{sha256}"
        expires = str(int(self._clock() + self._valid_seconds))
        query = {
            "response-content-disposition": f"attachment; filename*=UTF-8''{quote(filename)}",
            "Expires": expires,
            "Signature": self._signature(path, expires),
            "Key-Pair-Id": "LOOPBACK",
        }
        return f"{path}?{urlencode(query)}"

    def verify(self, target: str) -> str | None:
        """Return the SHA-256 of the object that `target` (path and query) grants access to now, or None."""
        parts = urlsplit(target)
        query = parse_qs(parts.query)
        expires, signature = query.get("Expires", [""])[0], query.get("Signature", [""])[0]
        genuine = hmac.compare_digest(signature.encode(), self._signature(parts.path, expires).encode())
        if not genuine or int(expires) < self._clock():
            return None
        return parts.path.rpartition("/")[2]

    def expire_all(self) -> None:
        """Invalidate every URL signed so far."""
        self._key = secrets.token_bytes(32)

    def _signature(self, path: str, expires: str) -> str:
        return hmac.new(self._key, f"{path}\n{expires}".encode(), hashlib.sha256).hexdigest()
