"""Serve silence in a process of its own: `python -m http_fuzz.serve LOG` prints its port, and ends with its input."""

import sys
from pathlib import Path

from http_fuzz.fake_engine import serve_silence
from musicgen_serving.http.connection import Limits
from musicgen_serving.json_log import JsonLog

# Short times, and a small body: a case that stalls ends with one of them.
LIMITS = Limits(
    idle_seconds=0.5, head_seconds=0.5, body_seconds=0.5, response_seconds=5.0, linger_seconds=0.2, body_bytes=2**20
)  # fmt: skip

if __name__ == "__main__":
    server = serve_silence(JsonLog.to(Path(sys.argv[1])), LIMITS)
    print(server.port, flush=True)
    sys.stdin.read()
    server.stop()
