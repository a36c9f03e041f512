"""Serve the embedded AWS on 127.0.0.1 over TLS: `python -m local_aws.emulator.server --state DIR [--port 0]`.

Writes DIR/ready.json (`endpoint_url`, `ca_bundle`, `trust_bundle`, `pid`) when it answers, and serves until SIGTERM.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import ssl
import sys
import threading
from pathlib import Path
from typing import Any

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import ThreadedWSGIServer

from local_aws.emulator import children, clients
from local_aws.emulator.account import ACCOUNT_ID
from local_aws.emulator.certificates import make_certificates
from local_aws.emulator.environment import write_trust_bundle
from local_aws.emulator.extensions import EXTENSIONS, MIDDLEWARE
from local_aws.emulator.moto_version import check_moto_version

HOST = "127.0.0.1"


class _RequestHandler(MotoRequestHandler):
    """Logs a request without its query: that may carry a signature."""

    protocol_version = "HTTP/1.1"  # keeps connections open: a TLS handshake a call would dominate

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        self.log("info", '"%s %s" %s', self.command, self.path.partition("?")[0], code)


class _TlsServer(ThreadedWSGIServer):
    """Shakes hands in the request's own thread, so that one slow client holds up nobody else."""

    daemon_threads = True

    def __init__(self, port: int, app: Any, context: ssl.SSLContext):
        super().__init__(HOST, port, app, handler=_RequestHandler)
        self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)
        self.ssl_context = context  # werkzeug then says https to the application

    def handle_error(self, request: Any, client_address: Any) -> None:
        error = sys.exc_info()[1]
        if isinstance(error, ssl.SSLError | ConnectionError):
            print(f"connection from {client_address} ended: {error}", file=sys.stderr, flush=True)
        else:
            super().handle_error(request, client_address)


def build_app() -> Any:
    """moto's application with every extension installed, inside this project's middleware."""
    check_moto_version()
    for install in EXTENSIONS:
        install()
    app: Any = DomainDispatcherApplication(create_backend_app)
    for wrap in MIDDLEWARE:
        app = wrap(app)
    return app


def serve(state: Path, port: int, *, exit_with_stdin: bool) -> None:
    """Serve until SIGTERM, SIGINT or, if `exit_with_stdin`, until standard input closes (the parent has died)."""
    server, runtime = _bind(state, port)
    server.app = build_app()
    stop = threading.Event()

    def end(number: int, frame: Any) -> None:
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    if exit_with_stdin:
        threading.Thread(target=_wait_for_parent, args=(stop,), daemon=True).start()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    _write_ready(runtime)
    stop.wait()
    children.end_all(registry=state / "children")
    server.shutdown()


def _bind(state: Path, port: int) -> tuple[_TlsServer, clients.Runtime]:
    """A server on its port, still without an application: the application must know the port."""
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    certificates = make_certificates(state)
    trust = state / "trust.pem"
    write_trust_bundle(certificates.authority, trust)
    server = _TlsServer(port, None, certificates.server_context())
    # Some of moto's modules call back to its own server and find it by these.
    os.environ.update(MOTO_PORT=str(server.port), MOTO_ACCOUNT_ID=ACCOUNT_ID, MOTO_IAM_LOAD_MANAGED_POLICIES="true")
    runtime = clients.Runtime(f"https://{HOST}:{server.port}", state, certificates.authority, trust)
    clients.set_runtime(runtime)
    return server, runtime


def _wait_for_parent(stop: threading.Event) -> None:
    # Not through sys.stdin, whose lock a reading thread would hold while the interpreter ends.
    while os.read(0, 4096):
        pass
    stop.set()


def _write_ready(runtime: clients.Runtime) -> None:
    ready = {
        "endpoint_url": runtime.endpoint_url,
        "ca_bundle": str(runtime.authority),
        "trust_bundle": str(runtime.trust),
        "pid": os.getpid(),
    }
    draft = runtime.state / "ready.json.draft"
    draft.write_text(json.dumps(ready), encoding="utf-8")
    draft.replace(runtime.state / "ready.json")  # whoever sees the file sees all of it


def main() -> None:
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(prog="python -m local_aws.emulator.server", description=__doc__)
    parser.add_argument("--state", type=Path, required=True, help="folder for certificates, logs and functions")
    parser.add_argument("--port", type=int, default=0, help="TCP port on 127.0.0.1; 0 takes a free one")
    parser.add_argument("--exit-with-stdin", action="store_true", help="end when standard input closes")
    arguments = parser.parse_args()
    serve(arguments.state.absolute(), arguments.port, exit_with_stdin=arguments.exit_with_stdin)


if __name__ == "__main__":
    main()
