"""How much memory this process may still take: what the kernel could free, within its control groups' limits."""

import re
from pathlib import Path

ROOT = Path("/")
_VERSION_1_FILES = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
_VERSION_2_FILES = ("memory.max", "memory.current", "inactive_file")


def available_bytes(root: Path = ROOT) -> int:
    """Return MemAvailable (proc_meminfo(5)), or less if a control group of this process has less left.

    MemFree leaves out the page cache, which after a start holds the checkpoint just read, and so would most memory.
    """
    text = (root / "proc/meminfo").read_text(encoding="ascii")
    found = re.search(r"^MemAvailable:\s+(\d+) kB$", text, re.MULTILINE)
    if found is None:
        raise ValueError(f"{root / 'proc/meminfo'} must have a line MemAvailable, got none")
    return min([int(found[1]) * 1024, *_left_in_groups(root)])


def _left_in_groups(root: Path) -> list[int]:
    """Return what is left of each limit on this process, version 1 or 2 (cgroups(7)); each ancestor has its own.

    In a container with its own namespace the group's path is `/`; without, it does not exist there and the mount's root
    has the container's limit.
    """
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:  # a kernel without control groups
        return []
    left: list[int] = []
    for line in lines:  # 0::/path, or 4:memory:/path
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        mount = root / ("sys/fs/cgroup/memory" if controllers else "sys/fs/cgroup")
        names = _VERSION_1_FILES if controllers else _VERSION_2_FILES
        group = mount / path.lstrip("/")
        for folder in [one for one in (group, *group.parents) if one.is_relative_to(mount)]:
            left += _left_in(folder, *names)
    return left


def _left_in(folder: Path, limit_file: str, usage_file: str, cache_field: str) -> list[int]:
    """Return what a group's limit leaves, if it has one; of its usage, the inactive page cache can be freed."""
    try:
        limit = (folder / limit_file).read_text(encoding="ascii").strip()
        usage = int((folder / usage_file).read_text(encoding="ascii"))
        stat = (folder / "memory.stat").read_text(encoding="ascii")
    except FileNotFoundError:  # the root group of version 2, or a path of another namespace
        return []
    if limit == "max":
        return []
    cache = re.search(rf"^{cache_field} (\d+)$", stat, re.MULTILINE)
    return [max(0, int(limit) - usage + (int(cache[1]) if cache else 0))]
