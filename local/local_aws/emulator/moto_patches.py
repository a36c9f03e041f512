"""Every change to moto's internals by this package, in one place: `install` applies them to the pinned version.

`sagemaker.install` replaces moto's SageMaker endpoints and its checks of their configurations; `operations.install`
replaces what moto lacks or answers otherwise than AWS;
`autoscaling.live.scaling_service` only starts a thread.
"""

from collections.abc import Iterator
from typing import Any, cast

import moto
from moto.awslambda.models import LambdaBackend, LambdaFunction
from moto.cloudformation.exceptions import ValidationError as CloudFormationValidationError
from moto.cloudformation.models import cloudformation_backends
from moto.cloudformation.responses import CloudFormationResponse
from moto.core.authorization import ActionAuthenticatorMixin
from moto.s3.exceptions import S3ClientError
from moto.s3.models import FakeBucket, FakeMultipart
from moto.s3.responses import S3Response
from moto.s3.utils import compute_checksum

from local_aws import sagemaker
from local_aws.autoscaling.live import scaling_service as scaling
from local_aws.emulator import operations
from local_aws.emulator.cloudformation.backend import LocalCloudFormation
from local_aws.emulator.iam import authorization
from local_aws.emulator.lambda_functions import invocation

SUPPORTED_VERSION = "5.2.5"
# Only those that moto really computes: it may substitute CRC-32 for CRC-32C and CRC-64/NVME.
_CHECKSUMS = {"x-amz-checksum-crc32": "CRC32", "x-amz-checksum-sha1": "SHA1", "x-amz-checksum-sha256": "SHA256"}


def check_moto_version(found: str = moto.__version__) -> None:
    """Raise RuntimeError unless moto is exactly `SUPPORTED_VERSION`, whose private methods are patched here."""
    if found != SUPPORTED_VERSION:
        raise RuntimeError(
            f"moto must be {SUPPORTED_VERSION}, whose private methods the embedded AWS patches, got {found}; "
            f"install it with: pip install moto=={SUPPORTED_VERSION}"
        )


def install() -> None:
    """Apply all patches; call once, in the server's process, after `clients.set_runtime`."""
    check_moto_version()
    _patch_s3_multipart(S3Response)
    mixin, bucket = cast(Any, ActionAuthenticatorMixin), cast(Any, FakeBucket)
    mixin._authenticate_and_authorize_action = authorization.authorize  # instead of moto's own policies
    bucket.get_permission = authorization.bucket_permission
    _patch_lambda(LambdaFunction, LambdaBackend)
    _patch_cloudformation(cloudformation_backends, CloudFormationResponse)
    operations.install()
    sagemaker.install()
    scaling.install()


def _patch_cloudformation(backends: Any, responses: Any) -> None:
    """Serve stacks from the deployment engine."""
    backends.backend = LocalCloudFormation
    execute = responses.execute_change_set

    def execute_change_set(self: Any) -> Any:
        if self._get_bool_param("DisableRollback", False):
            raise CloudFormationValidationError(
                message="DisableRollback must be false: the embedded CloudFormation always rolls back"
            )
        return execute(self)

    def accept_unchanged(self: Any, parameters: Any, body: Any, stack: Any) -> None:
        """Accept what moto refuses: as the CLI expects, CloudFormation creates a change set that has failed."""

    responses.execute_change_set = execute_change_set
    responses._validate_different_update = accept_unchanged


def _patch_lambda(function: Any, backend: Any) -> None:
    """Run functions in child processes instead of docker, and keep the `LoggingConfig` that moto drops."""
    function.invoke = invocation.invoke
    backend.invoke = invocation.invoke_by_name
    construct, describe, update = function.__init__, function.get_configuration, function.update_configuration

    def set_log_group(self: Any, config: dict[str, Any]) -> None:
        self.logs_group_name = config.get("LogGroup", f"/aws/lambda/{self.function_name}")

    def init(self: Any, account_id: str, spec: dict[str, Any], *args: Any, **kwargs: Any) -> None:
        construct(self, account_id, spec, *args, **kwargs)
        set_log_group(self, spec.get("LoggingConfig", {}))

    def get_configuration(self: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
        logging = {"LogFormat": "Text", "LogGroup": self.logs_group_name}
        return describe(self, *args, **kwargs) | {"LoggingConfig": logging}

    def update_configuration(self: Any, config_updates: dict[str, Any]) -> dict[str, Any]:
        if "LoggingConfig" in config_updates:
            set_log_group(self, config_updates["LoggingConfig"])
        return update(self, config_updates)

    function.__init__ = init
    function.get_configuration = get_configuration
    function.update_configuration = update_configuration


def _patch_s3_multipart(responses: Any) -> None:
    """Check the object size and checksum that CompleteMultipartUpload states before moto joins the parts."""
    read_parts = responses._complete_multipart_body  # moto calls it once the caller is authorised

    def complete_multipart_body(self: Any, body: bytes) -> Iterator[tuple[int, str]]:
        parts: list[tuple[int, str]] = list(read_parts(self, body))
        upload = self.backend.get_bucket(self.bucket_name).multiparts.get(self._get_param("uploadId"))
        if upload is not None:
            _check_completion(upload, parts, self.headers)
        return iter(parts)

    responses._complete_multipart_body = complete_multipart_body


def _check_completion(upload: FakeMultipart, parts: list[tuple[int, str]], headers: Any) -> None:
    """Raise S3's error if the stated size or checksum is not that of the listed parts joined together."""
    data = b"".join(upload.parts[number].value for number, _ in parts if number in upload.parts)
    stated_size = headers.get("x-amz-mp-object-size")
    if stated_size is not None and int(stated_size) != len(data):
        raise S3ClientError(
            "InvalidRequest",
            f"The provided 'x-amz-mp-object-size' header value {stated_size} does not match what was computed: "
            f"{len(data)}",
        )
    for header, algorithm in _CHECKSUMS.items():
        stated = headers.get(header)
        # A composite checksum ends in the number of parts: it is computed from checksums, not from the object.
        if stated and "-" not in stated and stated != compute_checksum(data, algorithm).decode():
            raise S3ClientError("BadDigest", f"The {algorithm} you specified did not match the calculated checksum.")
