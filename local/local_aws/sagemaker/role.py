"""Sessions of a deployed execution role: all that the data plane does, it does with that role's rights."""

import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
from botocore.config import Config
from botocore.credentials import RefreshableCredentials
from botocore.exceptions import CredentialRetrievalError
from botocore.session import get_session
from moto.iam.exceptions import NotFoundException

from local_aws.emulator.clients import Runtime
from local_aws.emulator.iam.sessions import assume_role_for_service

_SESSION_NAME = "SageMaker"  # as in CloudTrail's records of real endpoints
_SESSION_SECONDS = 3600
_CONFIG = Config(connect_timeout=5, read_timeout=60, retries={"mode": "standard", "total_max_attempts": 3})


class RoleSession:
    """Credentials and clients of one IAM role, assumed as SageMaker does and renewed before they expire. Thread-safe.

    `source_arn` is the resource on whose behalf SageMaker asks. Raises botocore's CredentialRetrievalError when
    there is no such role or its trust policy refuses.
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
        botocore_session: Any = get_session()
        botocore_session._credentials = self._credentials  # botocore offers no public way to set refreshable ones
        self._session: Any = boto3.Session(botocore_session=botocore_session, region_name=region)

    def client(self, service: str) -> Any:
        """The role's client for `service` ("s3", "sns", "logs"); made once, safe to share between threads."""
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
        """Current credentials in the form that AWS's container credential endpoint answers with."""
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
            # botocore's own kind of error: a client that renews its credentials then fails as any other call does.
            raise CredentialRetrievalError(provider="SageMaker", error_msg=str(error)) from error
        return {
            "access_key": answer["aws_access_key_id"],
            "secret_key": answer["aws_secret_access_key"],
            "token": answer["aws_session_token"],
            "expiry_time": expiry.isoformat(),
        }
