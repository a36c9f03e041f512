"""Serve the embedded AWS on 127.0.0.1 over TLS: `python -m local_aws.emulator.server --state DIR [--port 0]`.

Write DIR/ready.json (`endpoint_url`, `ca_bundle`, `trust_bundle`, `pid`) once requests are answered; run until SIGTERM.
"""

import argparse
import fcntl
import functools
import io
import json
import os
import signal
import ssl
import sys
import threading
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.exceptions import InternalServerError
from werkzeug.serving import ThreadedWSGIServer
from werkzeug.test import run_wsgi_app

from local_aws.emulator import child_processes, clients, response_urls
from local_aws.emulator.account import ACCOUNT_ID
from local_aws.emulator.certificates import make_certificates
from local_aws.emulator.environment import add_instance_environment, write_trust_bundle
from local_aws.emulator.iam import authorization
from local_aws.emulator.moto_changes import moto_imports, unsupported

HOST = "127.0.0.1"


class _RequestHandler(MotoRequestHandler):
    """Keep connections open, as AWS does: werkzeug closes each, and TLS's handshake is half of a request's work.

    Log requests without their query, which may contain a signature.
    """

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # one record of TLS for the headers and a small body
    timeout = 300  # seconds; close a connection that is idle for longer

    def handle_expect_100(self) -> bool:
        try:
            return super().handle_expect_100()
        finally:
            self.wfile.flush()

    def run_wsgi(self) -> None:
        """Read the whole request, so that the next one follows on the connection, and answer it with its length."""
        self.environ = environ = self.make_environ()
        size = environ.get("CONTENT_LENGTH") or "0"
        if environ.get("wsgi.input_terminated"):  # in chunks
            content = environ["wsgi.input"].read()  # OSError, which ends the connection, if trailers follow
        elif size.isdecimal():
            content = self.rfile.read(int(size))
            if len(content) < int(size):
                raise ConnectionAbortedError(f"the client sent {len(content)} of {size} bytes")
        else:
            self.send_error(400, "Content-Length must be a number")  # and ends the connection
            return
        environ["wsgi.input"] = io.BytesIO(content)
        try:
            answer = run_wsgi_app(self.server.app, environ, buffered=True)
        except Exception:  # a bug of moto or of this package must not end the connection without an answer
            self.log("error", "Error on request:\n%s", traceback.format_exc())
            answer = run_wsgi_app(InternalServerError(), environ, buffered=True)
        blocks, status, headers = answer
        self._answer(status, list(headers), b"".join(blocks))

    def _answer(self, status: str, headers: list[tuple[str, str]], body: bytes) -> None:
        code, _, phrase = status.partition(" ")
        has_body = self.command != "HEAD" and code not in ("204", "304")
        replaced = ("connection", "transfer-encoding", *(["content-length"] if has_body else []))
        self.send_response(int(code), phrase)
        for name, value in headers:
            if name.lower() not in replaced:
                self.send_header(name, value)
        if has_body:
            self.send_header("Content-Length", str(len(body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body if has_body else b"")
        self.wfile.flush()

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        self.log("info", '"%s %s" %s', self.command, self.path.partition("?")[0], code)


class _Application(DomainDispatcherApplication):
    """Remember the service of each host; moto lists the folder of its services for every request."""

    def __init__(self) -> None:
        super().__init__(create_backend_app)
        self.get_backend_for_host = functools.lru_cache(1000)(self.get_backend_for_host)


class _TlsServer(ThreadedWSGIServer):
    """Handshake in the request's own thread, so that a slow client does not block the others."""

    daemon_threads = True

    def __init__(self, port: int, app: Any, context: ssl.SSLContext):
        super().__init__(HOST, port, app, handler=_RequestHandler)
        self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)
        self.ssl_context = context  # makes werkzeug report https to the application

    def handle_error(self, request: Any, client_address: Any) -> None:
        error = sys.exc_info()[1]
        if isinstance(error, ssl.SSLError | ConnectionError):
            print(f"connection from {client_address} ended: {error}", file=sys.stderr, flush=True)
        else:
            super().handle_error(request, client_address)


def serve(state: Path, port: int, instance_environment: Mapping[str, str], *, exit_with_stdin: bool) -> None:
    """Serve until SIGTERM, SIGINT or, if `exit_with_stdin`, until standard input closes because the parent died."""
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    _lock(state)
    certificates = make_certificates(state)
    trust = state / "trust.pem"
    write_trust_bundle(certificates.authority, trust)
    # Bind the port before there is an application, which must know the port.
    server = _TlsServer(port, None, certificates.server_context())
    # Some of moto's modules call its own server, at this port.
    os.environ.update(MOTO_PORT=str(server.port), MOTO_ACCOUNT_ID=ACCOUNT_ID, MOTO_IAM_LOAD_MANAGED_POLICIES="true")
    url = f"https://{HOST}:{server.port}"
    runtime = clients.Runtime(url, state, certificates.authority, trust, instance_environment)
    clients.set_runtime(runtime)
    moto_imports.import_cloudformation()
    from local_aws.emulator.moto_changes import moto_patches  # here: it imports moto's CloudFormation too

    moto_patches.install()
    app: Any = _Application()
    for middleware in (unsupported.middleware, authorization.middleware, response_urls.middleware):
        app = middleware(app)
    server.app = app
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: stop.set())
    if exit_with_stdin:
        threading.Thread(target=_wait_for_parent, args=(stop,), daemon=True).start()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    ready = {
        "endpoint_url": runtime.endpoint_url,
        "ca_bundle": str(runtime.authority),
        "trust_bundle": str(runtime.trust),
        "pid": os.getpid(),
    }
    draft = state / "ready.json.draft"
    draft.write_text(json.dumps(ready), encoding="utf-8")
    draft.replace(state / "ready.json")  # atomic: a reader never sees half of it
    stop.wait()
    child_processes.end_all(registry=runtime.children)
    server.shutdown()


def _lock(state: Path) -> None:
    """Keep other servers out of the state folder until this process ends; SystemExit if one is in it."""
    lock = os.open(state / "server.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        sys.exit(f"the state folder must belong to one embedded AWS, but another runs on {state}")


def _wait_for_parent(stop: threading.Event) -> None:
    # Not through sys.stdin: a thread reading it would hold its lock while the interpreter exits.
    while os.read(0, 4096):
        pass
    stop.set()


def main() -> None:
    """Run the command line; see the module's docstring."""
    parser = argparse.ArgumentParser(prog="python -m local_aws.emulator.server", description=__doc__)
    parser.add_argument("--state", type=Path, required=True, help="folder for certificates, logs and functions")
    parser.add_argument("--port", type=int, default=0, help="TCP port on 127.0.0.1; 0 takes a free one")
    parser.add_argument("--exit-with-stdin", action="store_true", help="end when standard input closes")
    add_instance_environment(parser)
    arguments = parser.parse_args()
    serve(
        arguments.state.absolute(),
        arguments.port,
        dict(arguments.instance_env),
        exit_with_stdin=arguments.exit_with_stdin,
    )


if __name__ == "__main__":
    main()
