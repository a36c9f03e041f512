"""AWS Lambda on this machine: the function's real zip in a process of its own, under its deployed role."""

from __future__ import annotations

from typing import Any

from moto.awslambda.models import LambdaBackend, LambdaFunction

from local_aws.emulator.functions import invocation
from local_aws.emulator.functions.configuration import keep_logging_config


def install() -> None:
    """Let moto's Lambda run functions here instead of in docker."""
    function: Any = LambdaFunction
    keep_logging_config(function)
    function.invoke = invocation.invoke
    backend: Any = LambdaBackend
    backend.invoke = invocation.invoke_by_name
