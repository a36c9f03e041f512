"""The embedded AWS's data plane: asynchronous SageMaker endpoints that run the real serving stack on this machine."""

import atexit
import functools
from collections.abc import Callable

from local_aws.emulator import account, clients
from local_aws.sagemaker import moto_runtime, moto_sagemaker
from local_aws.sagemaker.endpoint import Endpoint
from local_aws.sagemaker.instance import Launch
from local_aws.sagemaker.registry import DataPlane, EndpointKey
from local_aws.sagemaker.serving_stack import ServingStack

_installed: list[Callable[[], DataPlane]] = []


def install(*, launch: Launch = ServingStack) -> None:
    """Extends moto, in the process that serves it. Call once, after moto is imported.

    The server must have said where it listens (`clients.set_runtime`) before the first endpoint is made. `launch`
    starts a container; tests pass one of their own. When the process exits, the containers end first; when it is
    killed, they end themselves.
    """

    @functools.cache
    def data_plane() -> DataPlane:
        plane = DataPlane(clients.runtime(), launch)
        atexit.register(plane.shutdown)
        return plane

    _installed[:] = [data_plane]
    moto_sagemaker.install(data_plane)
    moto_runtime.install(data_plane)


def find_endpoint(name: str, *, region: str = account.REGION) -> Endpoint | None:
    """The endpoint of that name, whatever its status, once `install` was called; for whoever scales it."""
    return _installed[0]().find(EndpointKey(account.ACCOUNT_ID, region, name)) if _installed else None
