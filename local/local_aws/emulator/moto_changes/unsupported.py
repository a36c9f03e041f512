"""Refuse what the embedded AWS does not do, by name: `the embedded AWS does not support sagemaker:CreateTrainingJob`.

moto would record a training job that never trains, or answer 500, which SDKs retry for half a minute.
"""

import functools
import json
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from xml.sax.saxutils import escape

from botocore import xform_name
from botocore.loaders import Loader
from botocore.model import OperationModel, ServiceModel
from werkzeug.wrappers import Response

WsgiApp = Callable[[dict[str, Any], Any], Iterable[bytes]]
CODE = "UnsupportedOperationException"
# By the name that signatures have: the SDK's names of the services that run here.
_SERVICES: Mapping[str, tuple[str, ...]] = {
    **{
        name: (name,)
        for name in (
            *("application-autoscaling", "cloudformation", "ec2", "ecr", "iam", "kms", "lambda", "logs"),
            *("s3", "secretsmanager", "sns", "sqs", "ssm", "sts"),
        )
    },
    "monitoring": ("cloudwatch",),
    "sagemaker": ("sagemaker", "sagemaker-runtime"),
    "tagging": ("resourcegroupstaggingapi",),
}
# SageMaker operations that do something here; moto only records the others.
_SAGEMAKER = re.compile(
    r"(Create|Delete|Describe)(Endpoint|EndpointConfig|Model)|List(Endpoint|EndpointConfig|Model)s|"
    r"UpdateEndpoint|UpdateEndpointWeightsAndCapacities|(Add|Delete|List)Tags|InvokeEndpoint|InvokeEndpointAsync"
)
_SIGNED_BY = re.compile(r"Credential=[^/\s]+/\d{8}/[^/]*/([^/]+)/aws4_request")
_NOT_IMPLEMENTED = re.compile(r"The (\w+) action has not been implemented")


def supported_services() -> list[str]:
    """Return the SDK's names of the services that run here."""
    return sorted(name for names in _SERVICES.values() for name in names)


def middleware(app: WsgiApp) -> WsgiApp:
    """Answer 400 with a message that names service and operation; pass on what is supported."""

    def handle(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        signed = _SIGNED_BY.search(str(environ.get("HTTP_AUTHORIZATION", "")))
        if signed is None:
            return app(environ, start_response)
        service = signed.group(1)
        target = str(environ.get("HTTP_X_AMZ_TARGET", "")).rpartition(".")[2]
        if service not in _SERVICES or (service == "sagemaker" and target and not _SAGEMAKER.fullmatch(target)):
            return _refusal(environ, service, target)(environ, start_response)
        try:
            response = Response.from_app(app, environ)
        except NotImplementedError as error:
            found = _NOT_IMPLEMENTED.search(str(error))
            return _refusal(environ, service, target, found.group(1) if found else "")(environ, start_response)
        # moto has no such URL. Its own answers, HeadObject's 404 among them, have a request's id.
        if response.status_code in (404, 405) and response.mimetype == "text/html" and not _is_motos(response):
            return _refusal(environ, service, target)(environ, start_response)
        return response(environ, start_response)

    return handle


def _is_motos(response: Response) -> bool:
    return any(name in response.headers for name in ("x-amzn-requestid", "x-amz-request-id"))


def _refusal(environ: Mapping[str, Any], service: str, target: str, method: str = "") -> Response:
    """Return the error in the protocol of `service`; `method` is the operation's name in Python."""
    operation = _operation(environ, service, target, method)
    name = operation.name if operation else target or method or f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}"
    message = f"the embedded AWS does not support {service}:{name}"
    print(message, flush=True)
    protocol = operation.service_model.metadata["protocol"] if operation else ""
    if protocol in ("json", "rest-json") or "json" in str(environ.get("CONTENT_TYPE", "")):
        body = json.dumps({"__type": CODE, "message": message, "Message": message})
        return Response(body, 400, {"x-amzn-ErrorType": CODE}, content_type="application/json")
    error = f"<Code>{CODE}</Code><Message>{escape(message)}</Message>"
    if service == "s3":
        return Response(f"<Error>{error}</Error>", 400, content_type="application/xml")
    body = f"<ErrorResponse><Error><Type>Sender</Type>{error}</Error></ErrorResponse>"
    return Response(body, 400, content_type="text/xml")


def _operation(environ: Mapping[str, Any], service: str, target: str, method: str) -> OperationModel | None:
    """Return the SDK's model of the requested operation; None for one that the SDK does not know either."""
    path = str(environ["PATH_INFO"])
    for model in _models(service):
        for name in model.operation_names:
            if name == target or (method and xform_name(name) == method):
                return model.operation_model(name)
    if target or method:
        return None
    for model in _models(service):
        for name in model.operation_names:
            operation = model.operation_model(name)
            if operation.http["method"] == environ["REQUEST_METHOD"] and _uri(operation.http["requestUri"]).fullmatch(
                path
            ):
                return operation
    return None


@functools.cache
def _models(signing_name: str) -> tuple[ServiceModel, ...]:
    """Return the models of the services whose requests are signed with `signing_name`."""
    loader = Loader()
    names = _SERVICES.get(signing_name) or tuple(
        name for name in loader.list_available_services("service-2") if _signs_as(loader, name, signing_name)
    )
    return tuple(ServiceModel(loader.load_service_model(name, "service-2"), name) for name in names)


def _signs_as(loader: Any, service: str, signing_name: str) -> bool:
    # A service's model is large: read only those that are probably the right one.
    if signing_name not in service and service.replace("-", "") not in signing_name:
        return False
    metadata = loader.load_service_model(service, "service-2")["metadata"]
    return signing_name == metadata.get("signingName", metadata["endpointPrefix"])


@functools.cache
def _uri(template: str) -> re.Pattern[str]:
    """Return a pattern for a `requestUri` such as /functions/{FunctionName}/code?x."""
    parts = re.split(r"(\{[^}]*\})", template.partition("?")[0])
    pattern = "".join(
        (r".+" if part.endswith("+}") else r"[^/]+") if part.startswith("{") else re.escape(part) for part in parts
    )
    return re.compile(pattern.rstrip("/") + "/?")
