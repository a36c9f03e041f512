"""Sessions of a deployed execution role: all that the data plane does, it does with that role's rights."""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportAttributeAccessIssue=false
# (botocore ships no types)

import threading
from typing import Any

import boto3
from botocore.config import Config
from botocore.credentials import RefreshableCredentials
from botocore.session import get_session

from local_aws import clients
from local_aws.clients import Runtime

_SESSION_NAME = "SageMaker"  # as in CloudTrail's records of real endpoints
_CONFIG = Config(connect_timeout=5, read_timeout=60, retries={"mode": "standard", "total_max_attempts": 3})


class RoleSession:
    """Credentials and clients of one IAM role, assumed through STS and renewed before they expire. Thread-safe."""

    def __init__(self, role_arn: str, region: str, runtime: Runtime) -> None:
        self.role_arn = role_arn
        self._region = region
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
        sts = clients.client("sts", self._region)  # SageMaker itself asks, as the service that the role trusts
        answer = sts.assume_role(RoleArn=self.role_arn, RoleSessionName=_SESSION_NAME)["Credentials"]
        return {
            "access_key": answer["AccessKeyId"],
            "secret_key": answer["SecretAccessKey"],
            "token": answer["SessionToken"],
            "expiry_time": answer["Expiration"].isoformat(),
        }
