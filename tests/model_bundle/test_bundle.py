"""The bundle as staged: its contents, and its imports in a clean interpreter."""

import importlib.metadata
import inspect
import re
import subprocess
import sys
import tarfile
from itertools import pairwise
from pathlib import Path

from musicgen_serving import service
from musicgen_serving.service import count_start

CODE = Path(__file__).parents[2] / "model_bundle/code"


def unpacked_bundle(folder: Path) -> Path:
    """Pack the bundle under `code/` of a tarball, unpack it at `folder`/model and return that folder."""
    archive = folder / "model.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        for path in sorted([*CODE.rglob("*.py"), CODE / "VERSION"]):
            tar.add(path, f"code/{path.relative_to(CODE)}")
    with tarfile.open(archive) as tar:
        tar.extractall(folder / "model", filter="data")
    return folder / "model"


def run_isolated(code_dir: Path, program: str) -> str:
    """Run a program in a clean interpreter with the bundle first on its path, as in the toolkit; return its output."""
    head = f"import sys; sys.path.insert(0, {str(code_dir)!r})\n"
    command = [sys.executable, "-I", "-c", head + program]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


def test_imports_in_a_clean_interpreter_with_the_four_hooks(tmp_path: Path) -> None:
    program = "import inference; print(inference.__file__, *(callable(getattr(inference, f'{hook}_fn')) for hook in "
    program += "('model', 'input', 'predict', 'output')))"
    code_dir = unpacked_bundle(tmp_path) / "code"
    assert run_isolated(code_dir, program) == f"{code_dir / 'inference.py'} True True True True"


def test_the_supervisor_imports_the_service_without_torch_or_numpy(tmp_path: Path) -> None:
    heavy = "{'torch', 'transformers', 'numpy', 'soundfile', 'scipy'}"
    program = f"import musicgen_serving.service; print({heavy} & set(sys.modules))"
    assert run_isolated(unpacked_bundle(tmp_path) / "code", program) == "set()"


def test_the_engine_imports_nothing_from_the_http_layer() -> None:
    sources = (CODE / "musicgen_serving/engine").rglob("*.py")
    imports = {name for path in sources for name in re.findall(r"musicgen_serving\.(\w+)", path.read_text("utf-8"))}
    assert imports <= {"engine", "json_log"}


def test_h11_comes_with_the_container_through_transformers() -> None:
    chain = ["transformers", "huggingface-hub", "httpx", "httpcore", "h11"]
    for package, needed in pairwise(chain):
        required = [line for line in importlib.metadata.requires(package) or [] if "extra ==" not in line]
        assert any(re.match(rf"{needed}\b", line) for line in required), (package, needed)


def test_soundfile_comes_with_the_container_through_transformers_audio_extra() -> None:
    """The image installs transformers[audio]; librosa, which this extra has, requires soundfile>=0.12.1."""
    audio = [line for line in importlib.metadata.requires("transformers") or [] if 'extra == "audio"' in line]
    assert any(re.match(r"librosa\b", line) for line in audio)


def test_needs_no_installation_at_start() -> None:
    assert sorted(path.name for path in CODE.iterdir() if path.name != "__pycache__") == [
        "VERSION",
        "inference.py",
        "musicgen_serving",
    ]


def test_the_service_module_defines_one_class_and_no_function_named_handle() -> None:
    classes = [cls for _, cls in inspect.getmembers(service, inspect.isclass) if cls.__module__ == service.__name__]
    assert classes == [service.MusicgenService]
    assert not hasattr(service, "handle")


def test_counts_the_starts_under_one_supervisor(tmp_path: Path) -> None:
    assert [count_start(tmp_path, 7), count_start(tmp_path, 7), count_start(tmp_path, 8)] == [1, 2, 1]
