"""The embedded AWS's SageMaker: asynchronous endpoints that run the real serving stack on this machine.

`api` receives the calls, `endpoint` runs them, and everything an endpoint does on AWS it does with its execution role's
rights. The emulator installs it; autoscaling reads endpoints through `find_endpoint`.
"""

import atexit
import functools
from collections.abc import Callable

from local_aws.emulator import account, clients
from local_aws.sagemaker import api
from local_aws.sagemaker.container import Launch, ServingStack
from local_aws.sagemaker.endpoint import Endpoint, EndpointKey, EndpointRegistry

_installed: list[Callable[[], EndpointRegistry]] = []


def install(*, launch: Launch = ServingStack) -> None:
    """Patch the SageMaker APIs of moto, in the process that serves it. Call once, after moto is imported.

    `clients.set_runtime` must be called before the first endpoint is created. `launch` starts a container from its
    environment and the path of its log. The containers stop when the process exits or is killed.
    """

    @functools.cache
    def registry() -> EndpointRegistry:
        made = EndpointRegistry(clients.runtime(), launch)
        atexit.register(made.shutdown)
        return made

    _installed[:] = [registry]
    api.install(registry)


def find_endpoint(name: str, *, region: str = account.REGION) -> Endpoint | None:
    """Return the endpoint of that name, whatever its status; None if there is none or `install` was not called."""
    return _installed[0]().find(EndpointKey(account.ACCOUNT_ID, region, name)) if _installed else None
