"""How often the supervisor had to start this server: a worker that dies is back, and this is how one sees it."""

from pathlib import Path


def count_start(folder: Path, supervisor_pid: int) -> int:
    """Add one to the count of starts under this supervisor, kept in a file in `folder`, and return it."""
    path = folder / f"musicgen-starts-{supervisor_pid}"
    count = int(path.read_text(encoding="ascii")) if path.is_file() else 0
    path.write_text(str(count + 1), encoding="ascii")
    return count + 1
