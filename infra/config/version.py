"""The version of stack, bundle and client, which `model_bundle/code/VERSION` holds and every staged model carries."""

from pathlib import Path

_FILE = Path(__file__).parents[2] / "model_bundle" / "code" / "VERSION"


def version() -> str:
    """Return the version, such as 0.1.0. Not read at import: the planner needs this package without the bundle."""
    return _FILE.read_text(encoding="utf-8").strip()
