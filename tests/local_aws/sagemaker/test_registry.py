"""The one registry of endpoints, which API calls and the scaling service may ask for at the same time."""

# pyright: reportPrivateUsage=false

import functools
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from local_aws.sagemaker import api


def test_threads_that_first_ask_for_the_registry_get_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """An endpoint in a second registry is in service, and cannot be invoked."""

    def create() -> object:
        time.sleep(0.05)  # as starting the server of credentials takes
        return object()

    monkeypatch.setattr(api, "_create_registry", functools.cache(create))
    with ThreadPoolExecutor(8) as threads:
        asked = [threads.submit(api._registry) for _ in range(8)]
    assert len({id(one.result()) for one in asked}) == 1
