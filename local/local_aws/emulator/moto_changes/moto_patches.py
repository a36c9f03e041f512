"""Every change to moto's internals by this package, in one place: `install` applies them to the pinned version.

`sagemaker.install` replaces moto's SageMaker endpoints and its checks of their configurations; `operations.install`
replaces what moto lacks or answers otherwise than AWS, and wraps its checks of other services;
`autoscaling.live.scaling_service` only starts a thread.
"""

from typing import Any, cast

import boto3
import moto
from moto.awslambda.models import LambdaBackend, LambdaFunction
from moto.cloudformation.exceptions import ValidationError as CloudFormationValidationError
from moto.cloudformation.models import cloudformation_backends
from moto.cloudformation.responses import CloudFormationResponse
from moto.core.authorization import ActionAuthenticatorMixin
from moto.core.base_backend import AccountSpecificBackend
from moto.s3.models import FakeBucket

from local_aws import sagemaker
from local_aws.autoscaling.live import scaling_service as scaling
from local_aws.emulator import clients, operations
from local_aws.emulator.cloudformation import request_checks
from local_aws.emulator.cloudformation.backend import LocalCloudFormation
from local_aws.emulator.iam import authorization, quotas
from local_aws.emulator.lambda_functions import invocation, settings

SUPPORTED_VERSION = "5.2.5"


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
    mixin, bucket = cast(Any, ActionAuthenticatorMixin), cast(Any, FakeBucket)
    mixin._authenticate_and_authorize_action = authorization.authorize  # instead of moto's own policies
    bucket.get_permission = authorization.bucket_permission
    # moto asks it for each service's regions: with the service models that this server's clients have loaded.
    session = boto3.session.Session(botocore_session=clients.new_session())
    cast(Any, AccountSpecificBackend).get_session = lambda: session
    quotas.install()
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
    request_checks.install(responses)


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
    settings.install(function, backend)
