"""Compare the cost of staging with obvious implementations: `make bench-staging BENCH="--mib 2250 --rounds 3"`.

Everything runs on loopback with TLS, with source and sink in a separate process. In each round every method stages the
same model once, in turn. It has the size of the smallest published model, `facebook/musicgen-small`; the slowest
method, which would take a quarter of an hour, stages a smaller one, once.

* default: download to disk, `tarfile` "w:gz" (level 9), `upload_file`;
* level0: the same without compression, checking SHA-256 as staging does;
* ours: the Lambda's own handler, eight threads; and once more with the decoder cast to float16;
* ceiling: no staging, only SHA-256, AES-GCM in TLS records both ways, and CRC-32 of as many bytes in memory.

Reports MB of source per CPU-second (user and system of the stager alone), wall seconds, and the kernel's counts of peak
resident memory and bytes written to disk. The last line compares medians; exit code 1 if a floor is not met.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PATHS = [str(ROOT / part) for part in (".", "lambda", "local", "benchmarks")]
METHODS = ("default", "level0", "ours", "ours-float16", "ceiling")
SLOW_MIB = 192  # level 9 takes about a minute; its speed is independent of the size
FLOORS = {"x_default": 13.0, "x_level0": 2.2}
MAX_RSS_MIB = 200.0
_BLOCK = 512  # bytes: the unit of ru_oublock


@dataclass(frozen=True)
class Measurement:
    """One staging: MB per CPU-second, wall seconds, peak memory in MiB, bytes to disk, whether all values are equal."""

    mb_per_cpu_s: float
    wall_s: float
    rss_mib: float
    disk_bytes: int
    lossless: bool

    def __str__(self) -> str:
        return (
            f"{self.mb_per_cpu_s:7.1f} MB per CPU-second {self.wall_s:7.1f} s wall {self.rss_mib:6.0f} MiB peak"
            f" {self.disk_bytes:>12} bytes to disk  lossless={'yes' if self.lossless else 'no'}"
        )


def main() -> int:
    """Measure, print, and return 1 if a floor is not met."""
    parser = argparse.ArgumentParser(description="Compare staging with obvious implementations.")
    parser.add_argument("--mib", type=int, default=2250, help="size of the model (default 2250)")
    parser.add_argument("--rounds", type=int, default=3, help="stagings by each method (default 3)")
    options = parser.parse_args()
    measured: dict[str, list[Measurement]] = {method: [] for method in METHODS}
    print(f"{options.mib} MiB, {os.cpu_count()} cores, {options.rounds} rounds, loopback with TLS")
    slow_mib = min(SLOW_MIB, options.mib)
    for size, rounds, methods in ((slow_mib, 1, METHODS[:1]), (options.mib, options.rounds, METHODS[1:])):
        with serving(size) as (servers, addresses):
            for method in methods * rounds:
                measured[method].append(measure(method, addresses, servers))
                print(f"{method:14} {measured[method][-1]}", flush=True)
    return conclude(measured)


@contextmanager
def serving(mib: int) -> "Generator[tuple[subprocess.Popen[str], dict[str, Any]]]":
    """Run Hub and S3 with a model of this size; yield their process and addresses."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, str(ROOT / "benchmarks" / "staging_servers.py"), folder, str(mib)]
        servers = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment())
        yield servers, json.loads(read_line(servers))
        servers.communicate(timeout=30)


def environment(**more: str) -> dict[str, str]:
    """Return the environment of a child process: the source roots, and one thread per numeric library."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(PATHS), "OMP_NUM_THREADS": "1", **more}


def measure(method: str, addresses: dict[str, Any], servers: "subprocess.Popen[str]") -> Measurement:
    """Stage once in a child process and measure it. Raises RuntimeError if it fails."""
    folder = Path(tempfile.mkdtemp())
    env = environment(
        HF_ENDPOINT=addresses["hub"], AWS_ENDPOINT_URL=addresses["s3"], AWS_CA_BUNDLE=addresses["authority"],
        SSL_CERT_FILE=addresses["authority"], AWS_ACCESS_KEY_ID="bench", AWS_SECRET_ACCESS_KEY="bench",
        AWS_REGION="us-east-1", AWS_DEFAULT_REGION="us-east-1", AWS_EC2_METADATA_DISABLED="true",
        SHA256_MODEL=addresses["sha256"], RESPONSE_URL=f"{addresses['s3']}/responses/response.json",
        MODEL_BYTES=str(addresses["bytes"]), TMPDIR=str(folder), PYTHONDONTWRITEBYTECODE="1",
    )  # fmt: skip
    script = str(ROOT / "benchmarks" / "staging_work.py")
    command = [sys.executable, script, method, "facebook/musicgen-bench", "a" * 40, str(folder)]
    start = time.monotonic()
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env)
    output = child.stdout.read() if child.stdout is not None else ""
    _, status, usage = os.wait4(child.pid, 0)  # the kernel's resource usage of this child
    child.returncode = os.waitstatus_to_exitcode(status)
    wall = time.monotonic() - start
    shutil.rmtree(folder)
    if child.returncode != 0:
        raise RuntimeError(f"staging by {method} failed with exit code {child.returncode}")
    lossless = method == "ceiling" or ask_for_check(servers)
    mb_per_cpu_s = addresses["bytes"] / 1e6 / float(output)
    return Measurement(mb_per_cpu_s, wall, usage.ru_maxrss / 1024, usage.ru_oublock * _BLOCK, lossless)


def ask_for_check(servers: "subprocess.Popen[str]") -> bool:
    """Return whether the staged object holds every published value; it is discarded."""
    assert servers.stdin is not None
    servers.stdin.write("check\n")
    servers.stdin.flush()
    return read_line(servers) == "yes"


def read_line(servers: "subprocess.Popen[str]") -> str:
    """Return the servers' next line. Raises RuntimeError if they have exited."""
    line = servers.stdout.readline() if servers.stdout is not None else ""
    if not line:
        raise RuntimeError("the benchmark's servers exited; see their output above")
    return line.strip()


def conclude(measured: dict[str, list[Measurement]]) -> int:
    """Print the comparison; return 1 below a floor."""
    speed = {method: statistics.median(one.mb_per_cpu_s for one in runs) for method, runs in measured.items()}
    ours = [*measured["ours"], *measured["ours-float16"]]
    rss, disk = max(one.rss_mib for one in ours), max(one.disk_bytes for one in ours)
    lossless = all(one.lossless for one in ours)
    baselines = METHODS[:2]
    ratios, cast = ({f"x_{name}": speed[ours] / speed[name] for name in baselines} for ours in METHODS[2:4])
    print(
        f"ceiling: {speed['ceiling']:.0f} MB per CPU-second for SHA-256, AES-GCM and CRC-32 alone;"
        f" staging reaches {speed['ours'] / speed['ceiling']:.0%} of it, {speed['ours']:.0f} MB per CPU-second"
    )
    print(f"with the cast: x_default={cast['x_default']:.1f} x_level0={cast['x_level0']:.1f}")
    print(
        f"staging: x_default={ratios['x_default']:.1f} x_level0={ratios['x_level0']:.1f} rss_mib={rss:.0f}"
        f" disk_bytes={disk} lossless={'yes' if lossless else 'no'}"
    )
    good = all(ratios[name] >= floor for name, floor in FLOORS.items())
    return 0 if good and rss <= MAX_RSS_MIB and disk == 0 and lossless else 1


if __name__ == "__main__":
    sys.exit(main())
