"""Run a program on templates in a process of its own: isolated, with bounded time and memory, its answers cached."""

import hashlib
import importlib.metadata
import json
import os
import shutil
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from stack_gate import GateError
from stack_gate.collect import sandbox
from stack_gate.collect.jsii_cache import fill_home
from stack_gate.template import Json

TIMEOUT_SECONDS = 240
MEMORY_BYTES = 2 << 30  # a backstop: memory that processes share counts for each
MAX_ANSWER_BYTES = 16 << 20
MAX_CACHED = 200
_lock = threading.Lock()
_SCRIPTS = Path(__file__).with_name("scripts")


@dataclass(frozen=True, kw_only=True)
class Child:
    """A script of `scripts/` with its input besides templates.

    It runs as `<python> <script> <folder>`, reads `<number>.template.json` and the `settings` files in the current
    folder, and writes `<number>.json` for each template into `<folder>`. `packages` are what it imports; `readable` are
    further files and folders that exist for it, below the folders of `import_path`; `python` is another interpreter
    than the running one. Answers are cached by all of this, and by `key`, which stands for the content of `readable`.
    """

    script: str
    settings: Mapping[str, str] = field(default_factory=dict[str, str])
    packages: tuple[str, ...] = ()
    import_path: tuple[Path, ...] = ()
    readable: tuple[Path, ...] = ()
    python: Path | None = None
    key: str = ""

    def missing(self) -> str:
        """Return why the script cannot run here, "" if it can."""
        for name in self.packages:
            try:
                importlib.metadata.version(name)
            except importlib.metadata.PackageNotFoundError:
                return f"{name} is not installed"
        return ""


def answers(child: Child, templates: Sequence[str], cache: Path) -> list[Json]:
    """Return the script's answer about each template, from the cache or by one run for those that it lacks.

    Raise GateError if it fails or takes more than its time or memory.
    """
    files = [cache / "checks" / f"{_key(child, template)}.json" for template in templates]
    lacking = {file: template for file, template in zip(files, templates, strict=True) if not file.exists()}
    fresh = dict(zip(lacking, _run(child, list(lacking.values()), cache), strict=True)) if lacking else {}
    for file, answer in fresh.items():
        _store(file, answer)
    return [fresh[file] if file in fresh else json.loads(file.read_text(encoding="utf-8")) for file in files]


def _key(child: Child, template: str) -> str:
    parts = [sys.version, child.key, (_SCRIPTS / child.script).read_text(encoding="utf-8"), template]
    parts += [f"{name} {importlib.metadata.version(name)}" for name in child.packages]
    parts += [f"{name} {text}" for name, text in sorted(child.settings.items())]
    return hashlib.sha256("\0".join(parts).encode(errors="surrogatepass")).hexdigest()[:32]


def _run(child: Child, templates: Sequence[str], cache: Path) -> list[Json]:
    python = child.python or Path(sys.executable)
    node = shutil.which("node")
    programs = [str(python.parent), *([] if node is None else [str(Path(node).parent)]), "/usr/bin", "/bin"]
    variables = {
        "PATH": os.pathsep.join(programs),
        "PYTHONPATH": os.pathsep.join(map(str, child.import_path)),
        "TMPDIR": "/tmp",
        "LANG": "C.UTF-8",
        "OMP_NUM_THREADS": "1",
        "NODE_OPTIONS": "--max-old-space-size=512",
        "JSII_RUNTIME_PACKAGE_CACHE": "enabled",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    with tempfile.TemporaryDirectory(prefix="stack-gate-") as scratch:
        folder, output = Path(scratch) / "input", Path(scratch) / "output"
        folder.mkdir()
        output.mkdir()
        home = _home(child, cache, Path(scratch) / "home")
        for number, template in enumerate(templates):
            (folder / f"{number}.template.json").write_text(template, encoding="utf-8", errors="surrogatepass")
        for name, text in child.settings.items():
            (folder / name).write_text(text, encoding="utf-8")
        done = sandbox.run(
            [str(python), "-P", "-s", str(_SCRIPTS / child.script), str(output)],
            folder=folder,
            variables={**variables, "HOME": str(home)},
            read_only=[folder, _SCRIPTS, *child.readable, *_environment(child.python)],
            writable=[output, home],
            timeout_seconds=TIMEOUT_SECONDS,
            memory_bytes=MEMORY_BYTES,
        )
        if done.code != 0:
            raise GateError(f"it failed: {done.output[-300:]}")
        return [_read(output / f"{number}.json") for number in range(len(templates))]


def _home(child: Child, cache: Path, empty: Path) -> Path:
    """Return the home folder that all children with CDK share, filled for jsii once; others get an empty one."""
    if "aws-cdk-lib" not in child.packages:
        empty.mkdir()
        return empty
    home = cache / "home"
    with _lock:
        if not home.exists():
            fill_home(home, cache)
    return home


def _environment(python: Path | None) -> list[Path]:
    """Return the virtualenv of an interpreter, by both names if a link leads to it."""
    return [] if python is None else list(dict.fromkeys([python.parents[1], python.parents[1].resolve()]))


def _read(path: Path) -> Json:
    if not path.is_file() or path.is_symlink() or path.stat().st_size > MAX_ANSWER_BYTES:
        raise GateError(f"its answer must be a file of at most {MAX_ANSWER_BYTES >> 20} MiB")
    return json.loads(path.read_text(encoding="utf-8"))


def _store(file: Path, answer: Json) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=file.parent, delete=False, encoding="utf-8") as written:
        json.dump(answer, written)
    Path(written.name).replace(file)
    cached = sorted(file.parent.glob("*.json"), key=lambda one: one.stat().st_mtime, reverse=True)
    for old in cached[MAX_CACHED:]:
        old.unlink(missing_ok=True)
