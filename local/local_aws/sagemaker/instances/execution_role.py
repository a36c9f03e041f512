"""The model's execution role: a session for what SageMaker does, and credentials for the container."""

import hmac
import json
import secrets
import threading
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import boto3
from botocore.config import Config
from botocore.credentials import RefreshableCredentials
from botocore.exceptions import CredentialRetrievalError
from moto.iam.exceptions import NotFoundException

from local_aws.emulator.clients import Runtime, new_session
from local_aws.emulator.iam.sessions import assume_role_for_service

_SESSION_NAME = "SageMaker"  # as in CloudTrail's records of real endpoints
_SESSION_SECONDS = 3600
_CONFIG = Config(connect_timeout=5, read_timeout=60, retries={"mode": "standard", "total_max_attempts": 3})


class RoleSession:
    """Credentials and clients of an IAM role, assumed as SageMaker does and renewed before they expire. Thread-safe.

    `source_arn` is the resource on whose behalf SageMaker assumes it. Raises botocore's CredentialRetrievalError if the
    role does not exist or its trust policy refuses.
    """

    def __init__(self, role_arn: str, region: str, runtime: Runtime, *, source_arn: str) -> None:
        self.role_arn = role_arn
        self._source_arn = source_arn
        self._runtime = runtime
        self._lock = threading.Lock()
        self._clients: dict[str, Any] = {}
        self._credentials: Any = RefreshableCredentials.create_from_metadata(
            metadata=self._assume(), refresh_using=self._assume, method="sts-assume-role"
        )
        botocore_session: Any = new_session()
        botocore_session._credentials = self._credentials  # botocore has no public way to set refreshable ones
        self._session: Any = boto3.Session(botocore_session=botocore_session, region_name=region)

    def client(self, service: str) -> Any:
        """Return the role's client for `service` ("s3", "sns", "logs"), shared between threads."""
        with self._lock:
            if service not in self._clients:
                self._clients[service] = self._session.client(
                    service,
                    endpoint_url=self._runtime.endpoint_url,
                    verify=str(self._runtime.authority),
                    config=_CONFIG,
                )
            return self._clients[service]

    def container_credentials(self) -> dict[str, str]:
        """Return current credentials in the form of AWS's container credential endpoint."""
        frozen = self._credentials.get_frozen_credentials()
        return {
            "AccessKeyId": frozen.access_key,
            "SecretAccessKey": frozen.secret_key,
            "Token": frozen.token,
            "Expiration": self._credentials._expiry_time.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "RoleArn": self.role_arn,
        }

    def _assume(self) -> dict[str, str]:
        expiry = datetime.now(UTC) + timedelta(seconds=_SESSION_SECONDS)
        try:
            answer = assume_role_for_service(
                self.role_arn,
                "sagemaker.amazonaws.com",
                _SESSION_NAME,
                source_arn=self._source_arn,
                duration_seconds=_SESSION_SECONDS,
            )
        except (PermissionError, NotFoundException) as error:
            # botocore's type of error: a client that renews its credentials then fails as any other call does.
            raise CredentialRetrievalError(provider="SageMaker", error_msg=str(error)) from error
        return {
            "access_key": answer["aws_access_key_id"],
            "secret_key": answer["aws_secret_access_key"],
            "token": answer["aws_session_token"],
            "expiry_time": expiry.isoformat(),
        }


class CredentialsServer:
    """AWS's container credential endpoint on loopback: `GET /<id>` with a token returns a role's credentials.

    The SDKs read AWS_CONTAINER_CREDENTIALS_FULL_URI (loopback may be http) and AWS_CONTAINER_AUTHORIZATION_TOKEN, and
    renew the credentials before they expire.
    """

    def __init__(self) -> None:
        self._roles: dict[str, tuple[str, RoleSession]] = {}
        handler = type("Handler", (_CredentialsHandler,), {"roles": self._roles})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True, name="credentials")
        self._thread.start()

    def register(self, role: RoleSession) -> dict[str, str]:
        """Serve `role` to one container; return the environment variables for its SDK."""
        identifier, token = secrets.token_urlsafe(12), secrets.token_urlsafe(32)
        self._roles[identifier] = (token, role)
        return {
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"http://127.0.0.1:{self._server.server_port}/{identifier}",
            "AWS_CONTAINER_AUTHORIZATION_TOKEN": token,
        }

    def revoke(self, variables: dict[str, str]) -> None:
        """Stop serving the role for which `register` returned `variables`."""
        self._roles.pop(variables["AWS_CONTAINER_CREDENTIALS_FULL_URI"].rpartition("/")[2], None)

    def close(self) -> None:
        """Shut the server down."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _CredentialsHandler(BaseHTTPRequestHandler):
    roles: ClassVar[dict[str, tuple[str, RoleSession]]] = {}

    def do_GET(self) -> None:
        token, role = self.roles.get(self.path.removeprefix("/"), ("", None))
        given = self.headers.get("Authorization", "")
        if role is None or not hmac.compare_digest(given.encode(), token.encode()):
            status, content = 403, {"code": "AccessDenied", "message": "the token does not match"}
        else:
            status, content = 200, role.container_credentials()
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing: the identifiers in the paths are half of a secret."""
