"""AWS's container credential endpoint, on loopback: how a container gets and renews its role's credentials."""

import hmac
import json
import secrets
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

from local_aws.sagemaker.role import RoleSession


class CredentialsServer:
    """Answers `GET /<id>` with the credentials of the role registered under that id, to bearers of its token.

    The SDK's contract: AWS_CONTAINER_CREDENTIALS_FULL_URI (loopback is allowed over http) and
    AWS_CONTAINER_AUTHORIZATION_TOKEN; the SDKs renew by themselves shortly before expiry.
    """

    def __init__(self) -> None:
        self._roles: dict[str, tuple[str, RoleSession]] = {}
        handler = type("Handler", (_Handler,), {"roles": self._roles})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True, name="credentials")
        self._thread.start()

    def register(self, role: RoleSession) -> dict[str, str]:
        """Offers `role` to one container; returns the environment variables that lead its SDK here."""
        identifier, token = secrets.token_urlsafe(12), secrets.token_urlsafe(32)
        self._roles[identifier] = (token, role)
        return {
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"http://127.0.0.1:{self._server.server_port}/{identifier}",
            "AWS_CONTAINER_AUTHORIZATION_TOKEN": token,
        }

    def revoke(self, variables: dict[str, str]) -> None:
        """Withdraws what `register` returned."""
        self._roles.pop(variables["AWS_CONTAINER_CREDENTIALS_FULL_URI"].rpartition("/")[2], None)

    def close(self) -> None:
        """Stops serving."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Handler(BaseHTTPRequestHandler):
    roles: ClassVar[dict[str, tuple[str, RoleSession]]] = {}

    def do_GET(self) -> None:
        token, role = self.roles.get(self.path.removeprefix("/"), ("", None))
        given = self.headers.get("Authorization", "")
        if role is None or not hmac.compare_digest(given.encode(), token.encode()):
            self._answer(403, {"code": "AccessDenied", "message": "the token does not match"})
            return
        self._answer(200, role.container_credentials())

    def _answer(self, status: int, content: dict[str, str]) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Keeps quiet: the identifiers in the paths are half of a secret."""
