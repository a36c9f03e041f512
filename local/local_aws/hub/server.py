"""The Hub as a context manager: two servers on 127.0.0.1 in threads of this process."""

import ssl
import threading
import time
from collections.abc import Callable
from http.server import ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Self

from local_aws.hub.faults import FaultHook
from local_aws.hub.handler import OriginHandler
from local_aws.hub.origins import CdnOrigin, HubOrigin
from local_aws.hub.repository import Repository


class LoopbackHub:
    """Serves `folder` as commit `revision` (40 hexadecimal digits, also known as `main`) of `model_id`.

    `url` goes into HF_ENDPOINT. Large files are redirected to a second origin, `cdn_url`, by addresses that are good
    for `signed_seconds`. `token` makes the model gated. `tls` (for 127.0.0.1 and localhost) serves both origins over
    https. `faults` is asked at every request what to do wrong. The folder is read once, at the start.
    """

    def __init__(
        self,
        folder: Path,
        *,
        model_id: str,
        revision: str,
        tls: ssl.SSLContext | None = None,
        token: str | None = None,
        signed_seconds: float = 3600,
        faults: FaultHook | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._repository = Repository(
            folder, model_id, revision, token=token, signed_seconds=signed_seconds, clock=clock
        )
        self._repository.faults = faults
        self._tls = tls
        self._servers: list[tuple[ThreadingHTTPServer, threading.Thread]] = []
        self.url = ""
        self.cdn_url = ""

    def __enter__(self) -> Self:
        # Another host name, because clients keep their token where the host stays the same, whatever the port.
        self.cdn_url = self._repository.cdn_url = self._serve(CdnOrigin, "localhost")
        self.url = self._serve(HubOrigin, "127.0.0.1")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        while self._servers:
            server, thread = self._servers.pop()
            server.shutdown()
            thread.join()
            server.server_close()

    def _serve(self, origin: type[OriginHandler], host: str) -> str:
        server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (origin,), {"repository": self._repository}))
        server.daemon_threads = True
        if self._tls:
            # Shake hands in the request's own thread, so that one slow client holds up nobody else.
            server.socket = self._tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True, name=origin.origin)
        thread.start()
        self._servers.append((server, thread))
        return f"{'https' if self._tls else 'http'}://{host}:{server.server_port}"
