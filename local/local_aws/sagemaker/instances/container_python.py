"""A container's own Python environment: it finds this machine's packages, and what pip installs goes into it alone.

An image has one Python, whose site-packages belong to the container. Here all containers share those of the embedded
AWS, so that each gets a virtual environment on top of them. As in an image, pip takes a requirement that the shared
packages satisfy as satisfied; another version goes into the container's own folder and hides theirs; and no package
hides a module of the standard library.
"""

import site
import sys
import venv
from pathlib import Path

# The installed script runs the shared Python, and multi-model-server starts its workers with the Python it runs on.
_MODEL_SERVER = """#!/bin/sh
exec "${0%/*}/python" -P -c 'from mms.model_server import start; start()' "$@"
"""


def make_python(folder: Path) -> Path:
    """Create the environment in `folder`, which must not exist, and return its Python.

    The folder of that Python also has `multi-model-server`, and belongs at the front of PATH.
    """
    venv.create(folder, symlinks=True)
    (own,) = folder.glob("lib/python3*/site-packages")
    # addsitedir, because these folders may have .pth files of their own.
    lines = [f"import site; site.addsitedir({shared!r})" for shared in _shared_packages()]
    (own / "machine.pth").write_text("\n".join(lines) + "\n", encoding="utf-8")
    model_server = folder / "bin" / "multi-model-server"
    model_server.write_text(_MODEL_SERVER, encoding="utf-8")
    model_server.chmod(0o755)
    return folder / "bin" / "python"


def _shared_packages() -> list[str]:
    """Return the folders in which this process finds installed packages, its own environment's first."""
    user = [site.getusersitepackages()] if site.ENABLE_USER_SITE else []
    return [path for path in (*user, *site.getsitepackages()) if path in sys.path]
