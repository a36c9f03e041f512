"""A client of the container's port."""

import http.client
import json
from contextlib import closing
from dataclasses import dataclass
from email.message import Message
from typing import Any


@dataclass(frozen=True)
class HttpAnswer:
    """One HTTP response, read whole."""

    status: int
    headers: Message
    body: bytes

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


@dataclass(frozen=True)
class BundleClient:
    """Sends requests to a port of this machine, each on a connection of its own."""

    port: int

    def send(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> HttpAnswer:
        """Send one request and read the response."""
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)) as connection:
            connection.request(method, path, body, headers or {})
            response = connection.getresponse()
            return HttpAnswer(response.status, response.headers, response.read())

    def invoke(self, body: object, **headers: str) -> HttpAnswer:
        """Post a JSON body to /invocations; `X_Header=…` becomes `X-Header: …`."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        encoded = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.send("POST", "/invocations", encoded, {"Content-Type": "application/json", **named})
