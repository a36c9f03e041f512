"""What the embedded AWS adds to moto, in the order in which it is installed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from local_aws import sagemaker
from local_aws.autoscaling.emulator import scaling_service as scaling
from local_aws.emulator import authorization, cloudformation, fixes, functions, response_urls, unsupported

EXTENSIONS: list[Callable[[], None]] = [
    fixes.install,
    authorization.install,
    functions.install,
    cloudformation.install,
    sagemaker.install,
    scaling.install,
]

# WSGI middleware, innermost first.
MIDDLEWARE: list[Callable[[Any], Any]] = [unsupported.middleware, authorization.middleware, response_urls.middleware]
