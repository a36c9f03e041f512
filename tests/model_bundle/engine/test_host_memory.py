"""Test how much of the host's memory the engine counts on, with copies of /proc and /sys in a folder."""

from pathlib import Path

import pytest

from musicgen_serving.engine.host_memory import available_bytes

GIB = 2**30
MEMINFO = "MemTotal: 33554432 kB\nMemFree: 1048576 kB\nMemAvailable: 16777216 kB\n"
UNLIMITED = str(2**63 - 4096)  # version 1


def host(root: Path, groups: str | None = None, meminfo: str = MEMINFO, **files: str) -> Path:
    """Write a host's files under `root`; `__` in a name is a slash below /sys/fs/cgroup, `_D_` a dot."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/meminfo").write_text(meminfo, encoding="ascii")
    if groups is not None:
        (root / "proc/self/cgroup").write_text(groups, encoding="ascii")
    for name, text in files.items():
        path = root / "sys/fs/cgroup" / name.replace("__", "/").replace("_D_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="ascii")
    return root


def test_counts_available_memory_and_not_only_free_memory(tmp_path: Path) -> None:
    assert available_bytes(host(tmp_path)) == 16 * GIB


def version_2(folder: str, limit: str, used: int, cache: int) -> dict[str, str]:
    names = (f"{folder}memory_D_max", f"{folder}memory_D_current", f"{folder}memory_D_stat")
    return dict(zip(names, (f"{limit}\n", f"{used}\n", f"anon 5\ninactive_file {cache}\nactive_file 7\n"), strict=True))


def version_1(folder: str, limit: str, used: int, cache: int) -> dict[str, str]:
    names = ("memory_D_limit_in_bytes", "memory_D_usage_in_bytes", "memory_D_stat")
    texts = (f"{limit}\n", f"{used}\n", f"inactive_file 1\ntotal_inactive_file {cache}\n")
    return dict(zip((f"memory__{folder}{name}" for name in names), texts, strict=True))


CASES: dict[str, tuple[str, dict[str, str], int]] = {
    "version 2, the container's own namespace": ("0::/\n", version_2("", str(8 * GIB), 5 * GIB, 2 * GIB), 5 * GIB),
    "version 2, unlimited": ("0::/\n", version_2("", "max", 5 * GIB, 0), 16 * GIB),
    "version 2, the limit is an ancestor's": (
        "0::/pod/worker\n",
        version_2("pod__worker__", "max", GIB, 0) | version_2("pod__", str(4 * GIB), GIB, 0),
        3 * GIB,
    ),
    "version 2, used beyond the limit": ("0::/\n", version_2("", str(GIB), 2 * GIB, 0), 0),
    "version 1": ("4:memory:/job\n0::/\n", version_1("job__", str(6 * GIB), 4 * GIB, GIB), 3 * GIB),
    "version 1, a path of another namespace": (
        "3:cpu,cpuacct:/x\n4:memory:/docker/1\n",
        version_1("", str(6 * GIB), 4 * GIB, GIB),
        3 * GIB,
    ),
    "version 1, unlimited": ("4:memory:/\n", version_1("", UNLIMITED, 4 * GIB, GIB), 16 * GIB),
    "only other controllers": ("3:cpu:/\n", version_2("", str(GIB), 0, 0), 16 * GIB),
}


@pytest.mark.parametrize("case", CASES)
def test_counts_only_what_control_groups_leave(case: str, tmp_path: Path) -> None:
    groups, files, expected = CASES[case]
    assert available_bytes(host(tmp_path, groups, **files)) == expected


def test_reads_this_host() -> None:
    assert 2**20 < available_bytes() < 2**50


def test_names_what_meminfo_lacks(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="must have a line MemAvailable, got none"):
        available_bytes(host(tmp_path, meminfo="MemFree: 1 kB\n"))
