"""One endpoint configuration in operation: its role session, its fleet and its way of answering."""

from typing import Protocol

from botocore.exceptions import CredentialRetrievalError

from local_aws.emulator.clients import Runtime
from local_aws.sagemaker.answers import Answers
from local_aws.sagemaker.backlog import Backlog
from local_aws.sagemaker.credentials_server import CredentialsServer
from local_aws.sagemaker.definition import VariantDefinition
from local_aws.sagemaker.dispatcher import Dispatcher
from local_aws.sagemaker.errors import ProvisioningError
from local_aws.sagemaker.fleet import Fleet
from local_aws.sagemaker.instance import Instance, Launch
from local_aws.sagemaker.role import RoleSession

_UNHEALTHY_SECONDS = 60.0


class Machinery(Protocol):
    """What the endpoints of one server share."""

    runtime: Runtime
    credentials: CredentialsServer
    launch: Launch


class Deployment:
    """Runs `definition` and feeds its instances from `backlog`. ProvisioningError when its role cannot be assumed."""

    def __init__(self, definition: VariantDefinition, backlog: Backlog, machinery: Machinery) -> None:
        self.definition = definition
        self._backlog = backlog
        self._machinery = machinery
        self._role = _assume(definition, machinery.runtime)
        self.answers = Answers(definition, self._role)
        self.fleet = Fleet(
            self._new_instance, self._attach, unhealthy_after=min(definition.startup_timeout, _UNHEALTHY_SECONDS)
        )

    def bring_up(self) -> None:
        """Starts the initial instances and waits for them; on ProvisioningError nothing is left running."""
        count = self.definition.initial_instance_count
        self.fleet.set_desired(count)
        try:
            self.fleet.await_in_service(count)
        except ProvisioningError:
            self.fleet.stop()
            raise

    def _new_instance(self) -> Instance:
        machinery = self._machinery
        return Instance(self.definition, self._role, machinery.runtime, machinery.credentials, machinery.launch)

    def _attach(self, instance: Instance) -> Dispatcher:
        return Dispatcher(instance.base_url, self.definition.concurrency, self._backlog, self.answers, self._role)


def _assume(definition: VariantDefinition, runtime: Runtime) -> RoleSession:
    source = f"arn:aws:sagemaker:{definition.region}:{definition.account}:endpoint/{definition.endpoint_name.lower()}"
    try:
        return RoleSession(definition.role_arn, definition.region, runtime, source_arn=source)
    except CredentialRetrievalError as error:
        raise ProvisioningError(
            f"Could not assume role {definition.role_arn}. Please ensure that the role exists and allows principal "
            f"'sagemaker.amazonaws.com' to assume the role. ({error})"
        ) from error
