"""Settings of functions that moto stores differently from Lambda, or not at all."""

from typing import Any
from urllib.parse import unquote

from moto.awslambda import urls
from moto.awslambda.exceptions import InvalidParameterValueException, LambdaClientError
from moto.awslambda.models import EventInvokeConfig
from moto.awslambda.responses import LambdaResponse
from moto.core.responses import ActionResult

from local_aws.emulator.lambda_functions.destinations import check_destinations
from local_aws.emulator.lambda_functions.limits import check_configuration, check_package, recursive_loop

_LOOPS = ("Allow", "Terminate")
_MIN_EVENT_AGE_SECONDS = 60


def install(function: Any, backend: Any) -> None:
    """Check the settings of moto's functions, and add the recursion configuration to its API."""
    construct, set_code, update = function.__init__, function._set_function_code, function.update_configuration

    def init(self: Any, account_id: str, spec: dict[str, Any], *args: Any, **kwargs: Any) -> None:
        check_configuration(spec)
        construct(self, account_id, spec, *args, **kwargs)

    def set_function_code(self: Any, updated_spec: dict[str, Any]) -> None:
        before: dict[str, Any] = dict(self.__dict__)
        set_code(self, updated_spec)
        try:
            check_package(getattr(self, "code_bytes", b""))
        except LambdaClientError:
            self.__dict__ = before  # a refused update changes nothing
            raise

    def update_configuration(self: Any, config_updates: dict[str, Any]) -> dict[str, Any]:
        check_configuration(config_updates)
        return update(self, config_updates)

    function.__init__, function._set_function_code = init, set_function_code
    function.update_configuration = update_configuration
    backend.put_function_event_invoke_config = _put_event_invoke_config
    responses: Any = LambdaResponse
    responses.get_function_recursion_config = _get_recursion_config
    responses.put_function_recursion_config = _put_recursion_config
    path = r"{0}/(?P<api_version>[^/]+)/functions/(?P<function_name>[\w_:%-]+)/recursion-config$"
    urls.url_paths[path] = LambdaResponse.dispatch


def _put_event_invoke_config(self: Any, function_name: str, config: dict[str, Any]) -> dict[str, Any]:
    """Replace the configuration: moto would keep the first. Refuse an age below the minimum, which moto accepts."""
    check_destinations(config)
    if int(config.get("MaximumEventAgeInSeconds", _MIN_EVENT_AGE_SECONDS)) < _MIN_EVENT_AGE_SECONDS:
        raise InvalidParameterValueException(
            f"MaximumEventAgeInSeconds must be at least {_MIN_EVENT_AGE_SECONDS}, got "
            f"{config['MaximumEventAgeInSeconds']}"
        )
    function = self.get_function(function_name)
    function.event_invoke_config = [EventInvokeConfig(function.function_arn, function.last_modified, config)]
    return function.event_invoke_config[0].response()


def _get_recursion_config(self: Any) -> ActionResult:
    function = self.backend.get_function(unquote(self.path.rsplit("/", 2)[1]))
    return ActionResult({"RecursiveLoop": recursive_loop(function)})


def _put_recursion_config(self: Any) -> ActionResult:
    function = self.backend.get_function(unquote(self.path.rsplit("/", 2)[1]))
    loop = self.json_body.get("RecursiveLoop")
    if loop not in _LOOPS:
        raise LambdaClientError(
            "InvalidParameterValueException", f"RecursiveLoop must be {' or '.join(_LOOPS)}, got {loop}"
        )
    function.recursive_loop = loop
    return ActionResult({"RecursiveLoop": loop})
