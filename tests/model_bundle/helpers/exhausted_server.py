"""A server in a process without free file descriptors: prints its port, and ends with its input.

It answers pings as one that is ready. No request reaches its hooks, so none are given: they would import torch.
"""

import os
import resource
import sys
from typing import Any

from musicgen_serving.http.connection import Limits
from musicgen_serving.http.invocation import Invocations
from musicgen_serving.http.server import ContainerServer
from musicgen_serving.json_log import JsonLog

if __name__ == "__main__":
    log = JsonLog.to(None)
    nothing: Any = None
    invocations = Invocations(log, max_concurrent_requests=1)
    server = ContainerServer("127.0.0.1", 0, invocations, log, limits=Limits())
    server.start()
    invocations.serve(nothing, nothing)
    resource.setrlimit(resource.RLIMIT_NOFILE, (200, 200))
    taken: list[int] = []
    try:
        while True:
            taken.append(os.open(os.devnull, os.O_RDONLY))
    except OSError:
        print(server.port, flush=True)
    sys.stdin.read()
    # Or Python would end its thread: for that glibc loads libgcc_s, and aborts the process if it cannot open the file.
    server.stop()
