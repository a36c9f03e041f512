"""Lambda: synchronous invocations, their errors and limits, and what a function gets."""

import base64
import io
import json
import zipfile
from concurrent.futures import ThreadPoolExecutor

import pytest
from botocore.exceptions import ClientError

from conformance.behaviour import documented
from conformance.workspace import Workspace, error_code
from tests.conformance.functions import Function, archive

INVOKE = "https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html"
CREATE = "https://docs.aws.amazon.com/lambda/latest/api/API_CreateFunction.html"
QUOTAS = "https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html"
RETRIES = "https://docs.aws.amazon.com/lambda/latest/dg/invocation-retries.html"
PYTHON_CONTEXT = "https://docs.aws.amazon.com/lambda/latest/dg/python-context.html"
PYTHON_ERRORS = "https://docs.aws.amazon.com/lambda/latest/dg/python-exceptions.html"
PYTHON_LOG = "https://docs.aws.amazon.com/lambda/latest/dg/python-logging.html"
VARIABLES = "https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html"
TROUBLE = "https://docs.aws.amazon.com/lambda/latest/dg/troubleshooting-deployment.html"
EXECUTION_ROLE = "https://docs.aws.amazon.com/lambda/latest/dg/lambda-intro-execution-role.html"
CONCURRENCY = "https://docs.aws.amazon.com/lambda/latest/dg/configuration-concurrency.html"


@pytest.fixture(scope="module")
def function(workspace: Workspace) -> Function:
    """A function that all tests of this file share; it does what its event says."""
    return Function(workspace, Timeout=3, Environment={"Variables": {"SETTING": "on"}})


@documented(INVOKE)
def test_an_answer_is_the_handlers(function: Function) -> None:
    """RequestResponse: the API response includes the function response; the status code is 200."""
    answer = function.invoke({"hello": 1})
    assert (answer["StatusCode"], json.loads(answer["Payload"])) == (200, {"hello": 1})
    assert "FunctionError" not in answer


@documented(INVOKE)
def test_a_dry_run_does_not_run(function: Function) -> None:
    """DryRun validates parameter values and verifies the permission; the status code is 204."""
    answer = function.invoke({"do": "raise"}, InvocationType="DryRun")
    assert answer["StatusCode"] == 204 and "FunctionError" not in answer


@documented(INVOKE)
def test_an_unknown_function_is_not_found(workspace: Workspace) -> None:
    """ResourceNotFoundException: the resource specified in the request does not exist."""
    call = workspace.client("lambda").invoke
    assert error_code(lambda: call(FunctionName=workspace.name()))[0] == "ResourceNotFoundException"


@documented(QUOTAS)
def test_a_synchronous_payload_has_a_limit(function: Function) -> None:
    """Invocation payload: 6 MB for the request (synchronous). RequestTooLargeException (HTTP status code 413): the
    request payload exceeded the Invoke request body JSON input quota."""
    with pytest.raises(ClientError) as refused:
        function.invoke({"x": "x" * (6 * 1024 * 1024 + 1024)})
    assert refused.value.response.get("ResponseMetadata", {}).get("HTTPStatusCode") == 413


@documented(INVOKE)
def test_a_payload_must_be_json(function: Function) -> None:
    """InvalidRequestContentException: the request body could not be parsed as JSON, or a request header is invalid."""
    call = function.client.invoke
    code, _ = error_code(lambda: call(FunctionName=function.name, Payload=b"{not JSON"))
    assert code == "InvalidRequestContentException"


@documented(PYTHON_ERRORS)
def test_an_exception_is_described(function: Function) -> None:
    """When your code raises an error, Lambda generates a JSON representation of it with the error message, its type and
    the stack trace. The status code in the API response doesn't reflect function errors."""
    answer = function.invoke({"do": "raise"})
    error = json.loads(answer["Payload"])
    assert (answer["StatusCode"], answer["FunctionError"]) == (200, "Unhandled")
    assert (error["errorMessage"], error["errorType"]) == ("wrong value", "ValueError")
    assert "do_raise" in "".join(error["stackTrace"])


@documented(INVOKE)
def test_a_timeout_is_a_function_error(function: Function) -> None:
    """Timeout: the amount of time that Lambda allows a function to run before stopping it. Function errors include
    errors returned by the function's runtime, such as timeouts."""
    answer = function.invoke({"do": "sleep", "seconds": 30})
    assert answer["FunctionError"] == "Unhandled"
    assert "Task timed out after 3.00 seconds" in json.loads(answer["Payload"])["errorMessage"]


@documented(INVOKE)
def test_the_end_of_the_runtime_is_a_function_error(function: Function) -> None:
    """If present, FunctionError indicates that an error occurred during function execution. Details about the error
    are included in the response payload."""
    answer = function.invoke({"do": "exit"})
    assert answer["FunctionError"]
    assert json.loads(answer["Payload"])["errorMessage"]


@documented(INVOKE, unknown="AWS's guides name Runtime.ExitError nowhere; it and its message are those of public logs")
def test_the_end_of_the_runtime_is_an_exit_error(function: Function) -> None:
    """Details about the error are included in the response payload."""
    error = function.result({"do": "exit"})
    assert error["errorType"] == "Runtime.ExitError" and "exit status 3" in error["errorMessage"]


@documented(QUOTAS)
def test_a_response_has_a_limit(function: Function) -> None:
    """Invocation payload: 6 MB each for request and response (synchronous)."""
    answer = function.invoke({"do": "large", "bytes": 6 * 1024 * 1024 + 1024})
    assert answer["FunctionError"] and len(answer["Payload"]) < 10_000


@documented(QUOTAS, differs="responses of 6,000,000 to 6,291,556 bytes are refused, as moto does")
def test_a_response_of_almost_six_megabytes_is_returned(function: Function) -> None:
    """Invocation payload: a response of up to 6 MB is returned."""
    answer = function.invoke({"do": "large", "bytes": 6 * 1024 * 1024 - 1024})
    assert "FunctionError" not in answer and len(answer["Payload"]) > 6_000_000


@documented(PYTHON_ERRORS)
def test_an_answer_must_be_json(function: Function) -> None:
    """JSON serialization error: Runtime.MarshalError, "Unable to marshal response: Object of type … is not JSON
    serializable"."""
    answer = function.invoke({"do": "object"})
    assert answer["FunctionError"] == "Unhandled"
    assert json.loads(answer["Payload"])["errorType"] == "Runtime.MarshalError"


@documented(PYTHON_ERRORS)
def test_a_missing_module_is_an_import_error(workspace: Workspace) -> None:
    """Runtime exception: Runtime.ImportModuleError, "Unable to import module 'lambda_function': …"."""
    other = Function(workspace, source="import not_there")
    error = other.result({})
    assert error["errorType"] == "Runtime.ImportModuleError"
    assert "Unable to import module 'index'" in error["errorMessage"]


@documented(TROUBLE)
def test_a_missing_handler_is_not_found(workspace: Workspace) -> None:
    """Error: Handler 'handler' missing on module 'function'. The name of the handler method in your function's handler
    configuration doesn't match your code."""
    error = Function(workspace, source="other = None").result({})
    assert error["errorMessage"] == "Handler 'handler' missing on module 'index'"


@documented(INVOKE)
def test_the_tail_of_the_log_is_returned(function: Function) -> None:
    """With LogType Tail, LogResult is the last 4 KB of the execution log, which is base64-encoded."""
    answer = function.invoke({"say": "x" * 5000 + " hello"}, LogType="Tail")
    log = base64.b64decode(answer["LogResult"])
    assert b"hello" in log and len(log) <= 4096
    assert "LogResult" not in function.invoke({})


@documented(PYTHON_LOG)
def test_the_log_has_start_end_and_report(function: Function) -> None:
    """The Python runtime logs the START, END, and REPORT lines for each invocation. The REPORT line has the request's
    ID, the duration, the billed duration, the memory size and the maximum memory used."""
    request_id = function.result({"do": "context"})["aws_request_id"]
    lines = function.log_lines(f"REPORT RequestId: {request_id}")
    assert any(line.startswith(f"START RequestId: {request_id} Version: $LATEST") for line in lines)
    assert any(line.startswith(f"END RequestId: {request_id}") for line in lines)
    (report,) = [line for line in lines if f"REPORT RequestId: {request_id}" in line]
    assert all(part in report for part in ("Duration:", "Billed Duration:", "Memory Size: 128 MB", "Max Memory Used:"))


@documented("https://docs.aws.amazon.com/lambda/latest/dg/monitoring-cloudwatchlogs.html")
def test_the_log_group_has_the_functions_name(workspace: Workspace, function: Function) -> None:
    """By default, Lambda sends logs to a log group named /aws/lambda/<function name>."""
    context = function.result({"do": "context"})
    assert context["log_group_name"] == f"/aws/lambda/{function.name}"
    function.log_lines(context["aws_request_id"])
    streams = workspace.client("logs").describe_log_streams(logGroupName=context["log_group_name"])["logStreams"]
    assert context["log_stream_name"] in [stream["logStreamName"] for stream in streams]


@documented(PYTHON_CONTEXT)
def test_the_context_describes_the_invocation(function: Function) -> None:
    """The context object has the function's name, version, ARN and memory, the request's id and the time left."""
    context = function.result({"do": "context"})
    assert (context["function_name"], context["function_version"]) == (function.name, "$LATEST")
    assert (context["invoked_function_arn"], context["memory_limit_in_mb"]) == (function.arn, "128")
    assert 0 < context["left"] <= 3000


@documented(VARIABLES)
def test_a_function_gets_defined_variables(function: Function, workspace: Workspace) -> None:
    """Lambda sets AWS_REGION, AWS_LAMBDA_FUNCTION_NAME, _VERSION, _MEMORY_SIZE, AWS_LAMBDA_INITIALIZATION_TYPE, the
    log group and stream, the role's credentials, _HANDLER, LAMBDA_TASK_ROOT, LAMBDA_RUNTIME_DIR and TZ."""
    found = function.result({"do": "environment"})
    assert found["AWS_REGION"] == found["AWS_DEFAULT_REGION"] == workspace.target.region
    assert (found["AWS_LAMBDA_FUNCTION_NAME"], found["AWS_LAMBDA_FUNCTION_VERSION"]) == (function.name, "$LATEST")
    assert (found["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"], found["AWS_LAMBDA_INITIALIZATION_TYPE"]) == ("128", "on-demand")
    assert (
        found["AWS_LAMBDA_LOG_GROUP_NAME"] == function.log_group and "[$LATEST]" in found["AWS_LAMBDA_LOG_STREAM_NAME"]
    )
    assert (found["_HANDLER"], found["TZ"].lstrip(":"), found["SETTING"]) == ("index.handler", "UTC", "on")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "LAMBDA_RUNTIME_DIR"):
        assert found[name]


@documented("https://docs.aws.amazon.com/lambda/latest/dg/configuration-ephemeral-storage.html")
def test_a_function_may_write_to_tmp(function: Function) -> None:
    """Lambda provides ephemeral storage for functions in the /tmp directory."""
    assert function.result({"do": "disk"}) is True


@documented(VARIABLES)
def test_reserved_variables_are_refused(function: Function) -> None:
    """Lambda runtimes set several environment variables during initialization. Their keys are reserved and cannot be
    set in your function configuration."""
    update = function.client.update_function_configuration
    environment = {"Variables": {"AWS_REGION": "eu-west-1"}}
    code, message = error_code(lambda: update(FunctionName=function.name, Environment=environment))
    assert code == "InvalidParameterValueException" and "AWS_REGION" in message


@documented(QUOTAS)
def test_variables_have_a_limit(function: Function) -> None:
    """Function environment variables: 4 KB, for all variables associated with the function, in aggregate."""
    update = function.client.update_function_configuration
    environment = {"Variables": {"LARGE": "x" * 4096}}
    code, _ = error_code(lambda: update(FunctionName=function.name, Environment=environment))
    assert code == "InvalidParameterValueException"


@documented(CREATE)
def test_defaults_are_three_seconds_and_128_megabytes(workspace: Workspace) -> None:
    """Timeout: the default is 3 seconds. MemorySize: the default value is 128 MB. EphemeralStorage: 512 MB."""
    name, role = workspace.name("f"), workspace.role("lambda", [])
    code, create = {"ZipFile": archive("")}, workspace.client("lambda").create_function
    made = create(FunctionName=name, Role=role, Runtime="python3.12", Handler="index.handler", Code=code)
    workspace.later(name, lambda: workspace.client("lambda").delete_function(FunctionName=name))
    assert (made["Timeout"], made["MemorySize"], made["EphemeralStorage"]) == (3, 128, {"Size": 512})


@documented(CREATE)
def test_a_functions_name_is_unique(workspace: Workspace, function: Function) -> None:
    """ResourceConflictException: the resource already exists, or another operation is in progress."""
    arguments = {"Runtime": "python3.12", "Handler": "index.handler", "Code": {"ZipFile": archive("")}}
    create = workspace.client("lambda").create_function
    code, _ = error_code(lambda: create(FunctionName=function.name, Role=function.role, **arguments))
    assert code == "ResourceConflictException"


@documented(EXECUTION_ROLE)
def test_lambda_must_be_trusted_by_the_role(workspace: Workspace) -> None:
    """In order for Lambda to properly assume your execution role, the role's trust policy must specify the Lambda
    service principal (lambda.amazonaws.com) as a trusted service."""
    role = workspace.role("sagemaker", [])
    arguments = {"Runtime": "python3.12", "Handler": "index.handler", "Code": {"ZipFile": archive("")}}
    create = workspace.client("lambda").create_function
    code, _ = error_code(lambda: create(FunctionName=workspace.name("f"), Role=role, **arguments))
    assert code == "InvalidParameterValueException"


@documented(QUOTAS)
def test_a_package_unpacks_to_250_megabytes_at_most(function: Function) -> None:
    """Deployment package (.zip file archive) size: 50 MB (zipped, for direct upload), 250 MB (unzipped)."""
    buffer = io.BytesIO()
    with (
        zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file,
        file.open("index.py", "w") as member,
    ):
        for _ in range(251):
            member.write(bytes(1024 * 1024))
    update = function.client.update_function_code
    code, _ = error_code(lambda: update(FunctionName=function.name, ZipFile=buffer.getvalue()))
    assert code == "InvalidParameterValueException"


@documented("https://docs.aws.amazon.com/lambda/latest/api/API_UpdateFunctionCode.html")
def test_updated_code_runs(workspace: Workspace) -> None:
    """UpdateFunctionCode updates a Lambda function's code."""
    other = Function(workspace, source="def handler(event, context): return 'old'")
    assert other.result({}) == "old"
    other.client.update_function_code(
        FunctionName=other.name, ZipFile=archive("def handler(event, context): return 'new'")
    )
    other.client.get_waiter("function_updated_v2").wait(FunctionName=other.name)
    assert other.result({}) == "new"


@documented(CONCURRENCY)
def test_reserved_concurrency_of_zero_throttles(workspace: Workspace) -> None:
    """To throttle a function, set the reserved concurrency to zero. This stops any events from being processed until
    you remove the limit."""
    other = Function(workspace)
    other.client.put_function_concurrency(FunctionName=other.name, ReservedConcurrentExecutions=0)
    assert error_code(lambda: other.invoke({}))[0] == "TooManyRequestsException"
    other.client.delete_function_concurrency(FunctionName=other.name)
    assert other.result({"a": 1}) == {"a": 1}


@documented(CONCURRENCY)
def test_reserved_concurrency_is_a_maximum(workspace: Workspace) -> None:
    """Reserving concurrency prevents the function from scaling beyond that level. TooManyRequestsException: running the
    function would cause you to exceed a concurrency limit at the function level."""
    other = Function(workspace)
    other.client.put_function_concurrency(FunctionName=other.name, ReservedConcurrentExecutions=1)

    def outcome(_: int) -> str:
        try:
            other.invoke({"do": "sleep", "seconds": 4})
        except other.client.exceptions.TooManyRequestsException:
            return "throttled"
        return "ran"

    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(outcome, range(2))) == ["ran", "throttled"]


@documented(
    "https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html",
    differs="a function's memory is not limited: its process runs with all of this machine's",
)
def test_memory_is_limited(workspace: Workspace) -> None:
    """MemorySize: the amount of memory available to the function at runtime."""
    other = Function(workspace, source="def handler(event, context): return len(bytearray(300 * 1024 * 1024))")
    assert other.invoke({})["FunctionError"] == "Unhandled"
