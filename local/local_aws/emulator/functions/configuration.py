"""The function settings that moto drops: where the function logs."""

from __future__ import annotations

from typing import Any


def keep_logging_config(function: Any) -> None:
    """Let moto's LambdaFunction keep and report `LoggingConfig`."""
    construct, describe, update = function.__init__, function.get_configuration, function.update_configuration

    def __init__(self: Any, account_id: str, spec: dict[str, Any], *args: Any, **kwargs: Any) -> None:  # noqa: N807
        construct(self, account_id, spec, *args, **kwargs)
        _log_to(self, spec.get("LoggingConfig", {}))

    def get_configuration(self: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
        return describe(self, *args, **kwargs) | {
            "LoggingConfig": {"LogFormat": "Text", "LogGroup": self.logs_group_name}
        }

    def update_configuration(self: Any, config_updates: dict[str, Any]) -> dict[str, Any]:
        if "LoggingConfig" in config_updates:
            _log_to(self, config_updates["LoggingConfig"])
        return update(self, config_updates)

    function.__init__ = __init__
    function.get_configuration = get_configuration
    function.update_configuration = update_configuration


def _log_to(function: Any, config: dict[str, Any]) -> None:
    function.logs_group_name = config.get("LogGroup", f"/aws/lambda/{function.function_name}")
