"""An operation that moto does not have is answered as such; moto's own 500 makes SDKs try again for half a minute."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any
from xml.sax.saxutils import escape


def middleware(app: Callable[..., Iterable[bytes]]) -> Callable[..., Iterable[bytes]]:
    """Answer 400 where `app` raises NotImplementedError."""

    def handle(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        try:
            return app(environ, start_response)
        except NotImplementedError as error:
            print(f"not supported: {error}", flush=True)
            content_type, body = _answer(str(environ.get("CONTENT_TYPE", "")), str(error))
            start_response("400 Bad Request", [("Content-Type", content_type), ("Content-Length", str(len(body)))])
            return [body]

    return handle


def _answer(request_type: str, message: str) -> tuple[str, bytes]:
    code = "UnsupportedOperationException"
    if "json" in request_type:
        return request_type, json.dumps({"__type": code, "message": message}).encode()
    error = f"<Error><Type>Sender</Type><Code>{code}</Code><Message>{escape(message)}</Message></Error>"
    return "text/xml", f"<ErrorResponse>{error}</ErrorResponse>".encode()
