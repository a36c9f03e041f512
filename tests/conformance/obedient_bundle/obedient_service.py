"""A container's service class that does what each request says: the conformance suite's model.

multi-model-server starts it, because MMS_DEFAULT_SERVICE_HANDLER names it; it needs the standard library only. A
request is JSON: `sleep` (seconds), `status`, `size` (bytes of the answer), `content_type`, `exit` (end the worker),
`print` (a line of output), `variables` (names, whose values are answered), `write` ("model" or "tmp": create a file
there). The answer says what the container received.
"""

import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any


class ObedientService:
    """multi-model-server's worker."""

    def initialize(self, context: Any) -> None:
        """Load nothing; a start-up that must fail or take long is asked for by the model's environment."""
        time.sleep(float(os.environ.get("OBEDIENT_START_SECONDS", "0")))
        if os.environ.get("OBEDIENT_START_FAILS"):
            os._exit(1)

    def handle(self, data: list[dict[str, Any]], context: Any) -> list[str]:
        """Answer one request."""
        content = data[0].get("body") or data[0].get("data") or b"{}"
        text = content.decode() if isinstance(content, (bytes, bytearray)) else json.dumps(content)
        wanted: dict[str, Any] = json.loads(text) if text.startswith("{") else {}
        time.sleep(float(wanted.get("sleep", 0)))
        if wanted.get("exit"):
            os._exit(3)
        if "status" in wanted:
            context.set_response_status(wanted["status"], "as wanted", 0)
        context.set_response_content_type(0, wanted.get("content_type", "application/json"))
        if "size" in wanted:
            return ["x" * wanted["size"]]
        if "print" in wanted:
            print(wanted["print"], flush=True)
        headers = context.request_processor[0].get_request_properties()
        answer = {
            "headers": headers,
            "body": text,
            "environment": sorted(os.environ),
            "variables": {name: os.environ.get(name) for name in wanted.get("variables", [])},
            "pid": os.getpid(),
            "code": str(Path(__file__).resolve()),
            "written": write_file(wanted["write"]) if "write" in wanted else None,
        }
        return [json.dumps(answer)]


def write_file(where: str) -> str:
    """Create a file in the model's folder or in the temporary one; return "written" or the error's name."""
    folder = Path(__file__).resolve().parents[1] if where == "model" else Path(tempfile.gettempdir())
    try:
        (folder / "made").write_text("x", encoding="utf-8")
    except OSError as error:
        return type(error).__name__
    return "written"
