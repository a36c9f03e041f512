"""What the embedded AWS adds to moto, in the order in which it is installed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from local_aws import authorization, cloudformation, data_plane, fixes, functions, response_urls, unsupported
from local_aws.autoscaling.embedded import service as scaling

EXTENSIONS: list[Callable[[], None]] = [
    fixes.install,
    authorization.install,
    functions.install,
    cloudformation.install,
    data_plane.install,
    scaling.install,
]

# WSGI middleware, innermost first.
MIDDLEWARE: list[Callable[[Any], Any]] = [unsupported.middleware, authorization.middleware, response_urls.middleware]
