"""A server in a process without free file descriptors: prints its port, and ends with its input."""

import os
import resource
import sys

from http_fuzz.fake_engine import serve_silence
from musicgen_serving.http.connection import Limits
from musicgen_serving.json_log import JsonLog

if __name__ == "__main__":
    log = JsonLog.to(None)
    server = serve_silence(log, Limits(), max_concurrent_requests=1)
    resource.setrlimit(resource.RLIMIT_NOFILE, (200, 200))
    taken: list[int] = []
    try:
        while True:
            taken.append(os.open(os.devnull, os.O_RDONLY))
    except OSError:
        print(server.port, flush=True)
    sys.stdin.read()
