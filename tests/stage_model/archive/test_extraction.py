"""Every tool that is present extracts a staged tarball to the published bytes: one line per tool.

The suite runs the tools that are installed, and names the others in its skips. The nightly workflow installs all of
them and sets EXTRACTORS=all, with which a missing tool is a failure.
"""

import os
import random
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.stage_model.archive.tarballs import MANIFEST, built, planned

PROGRAMS = Path(__file__).parents[1] / "extractors"
CRATES = Path("/usr/share/cargo/registry")
FILES = {
    "config.json": b"{}",
    "code/inference.py": b"pass\n",
    "empty": b"",
    "model.safetensors": random.Random(1).randbytes(300_000),
}
STRICT = "import sys, tarfile; tarfile.open(sys.argv[1]).extractall(sys.argv[2], filter='data')"


@dataclass(frozen=True)
class Tool:
    """A tool: its commands, with {archive}, {out} (an empty folder) and {scratch} (another), and Debian's packages.

    It is present if the first word of `detect` is found and `detect` prints `says`, and all of `needs` exist.
    """

    name: str
    commands: tuple[tuple[str, ...], ...]
    detect: tuple[str, ...]
    says: str
    packages: str
    needs: str = ""  # a pattern of files in CRATES

    def is_present(self) -> bool:
        if shutil.which(self.detect[0]) is None or (self.needs and not list(CRATES.glob(self.needs))):
            return False
        done = subprocess.run(self.detect, capture_output=True, text=True, check=False)
        return self.says in done.stdout + done.stderr


def program(*command: str) -> tuple[tuple[str, ...], ...]:
    return ((*command, "{archive}", "{out}"),)


def like_tar(*command: str) -> tuple[tuple[str, ...], ...]:
    return ((*command, "-xzf", "{archive}", "-C", "{out}"),)


CARGO = ("cargo", "run", "--quiet", "--target-dir", "{scratch}", "--")
TOOLS = [
    Tool("GNU tar", like_tar("tar"), ("tar", "--version"), "GNU tar", "tar"),
    Tool("busybox", like_tar("busybox", "tar"), ("busybox",), "BusyBox", "busybox"),
    Tool("bsdtar", like_tar("bsdtar"), ("bsdtar", "--version"), "bsdtar", "libarchive-tools"),
    Tool("7z", (("7z", "x", "-y", "{archive}", "-o{scratch}"), ("7z", "x", "-y", "{scratch}/model.tar", "-o{out}")),
         ("7z",), "7-Zip", "p7zip-full"),
    Tool("Python's strict filter", program(sys.executable, "-c", STRICT), (sys.executable, "-V"), "Python", "python3"),
    Tool("Go", program("go", "run", str(PROGRAMS / "untar.go")), ("go", "version"), "go version", "golang-go"),
    Tool("Rust", program(*CARGO), ("cargo", "--version"), "cargo",
         "cargo librust-tar-dev librust-flate2-dev", "tar-0.4*"),
    Tool("Java", program("java", str(PROGRAMS / "Untar.java")), ("javac", "-version"), "javac", "default-jdk-headless"),
    Tool("Node", program("node", str(PROGRAMS / "untar.mjs")), ("node", "--version"), "v", "nodejs"),
]  # fmt: skip


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("staged") / "model.tar.gz"
    target.write_bytes(built(planned(FILES), 2))
    return target


@pytest.mark.parametrize("tool", TOOLS, ids=[tool.name for tool in TOOLS])
def test_every_file_has_the_published_bytes(tool: Tool, archive: Path, tmp_path: Path) -> None:
    if not tool.is_present():
        missing = f"{tool.name} is not installed (Debian's {tool.packages})"
        assert os.environ.get("EXTRACTORS") != "all", missing
        pytest.skip(missing)
    places = {"archive": archive, "out": tmp_path / "out", "scratch": tmp_path / "scratch"}
    for name in ("out", "scratch"):
        places[name].mkdir()
    environment = {**os.environ, "GOCACHE": str(places["scratch"]), "GO111MODULE": "off", "GOTOOLCHAIN": "local"}
    for command in tool.commands:
        words = [word.format(**places) if "{" in word else word for word in command]
        where = PROGRAMS / "rust" if words[0] == "cargo" else tmp_path
        done = subprocess.run(words, cwd=where, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    out = places["out"]
    found = {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*") if path.is_file()}
    assert found.pop(MANIFEST) and found == FILES
