"""An HTTP client for the container's port."""

import http.client
import json
from contextlib import closing
from dataclasses import dataclass
from email.message import Message
from typing import Any


@dataclass(frozen=True)
class HttpResponse:
    """A complete HTTP response."""

    status: int
    headers: Message
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class ContainerClient:
    """Sends requests to a port on 127.0.0.1, each on a new connection."""

    port: int

    def send(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> HttpResponse:
        """Send one request and read the whole response."""
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)) as connection:
            connection.request(method, path, body, headers or {})
            response = connection.getresponse()
            return HttpResponse(response.status, response.headers, response.read())

    def invoke(self, body: object, **headers: str) -> HttpResponse:
        """Post a JSON body to /invocations; `X_Header=…` becomes `X-Header: …`."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        encoded = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.send("POST", "/invocations", encoded, {"Content-Type": "application/json", **named})
