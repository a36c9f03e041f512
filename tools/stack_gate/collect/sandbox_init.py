"""The first process of a sandbox: build its file system, give up every privilege, and become the command.

Started by sandbox.py under `unshare`, as a script with the standard library alone:

    python -I sandbox_init.py '{"root": ..., "read_only": [...], "writable": [...], "folder": ..., ...}' COMMAND...

Only the listed paths exist inside, each at its own path. The others (the home folder, the repository with its objects,
the gate's code, credentials) are unmounted, not merely unreadable. `/proc` shows the sandbox's own processes only.
"""

import ctypes
import json
import os
import platform
import resource
import sys
from pathlib import Path
from typing import Any

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 1, 2, 4, 32, 4096, 16384, 1 << 18
MNT_DETACH = 2
PR_SET_NO_NEW_PRIVS, PR_CAPBSET_DROP, PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL = 38, 24, 47, 4
CAPABILITY_VERSION_3 = 0x20080522
PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
SCRATCH_MIB = 1024
DEVICES = ("null", "zero", "full", "random", "urandom")
LINKS = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")

_libc = ctypes.CDLL(None, use_errno=True)


def main() -> None:
    """Set the sandbox up and replace this process by the command. Exit status 126: it could not be set up."""
    specification: dict[str, Any] = json.loads(sys.argv[1])
    try:
        _enter_file_system(specification)
        for name, value in specification["limits"].items():
            resource.setrlimit(getattr(resource, name), (value, value))
        _drop_privileges()
    except (OSError, KeyError) as error:
        print(f"sandbox: {error}", file=sys.stderr)
        sys.exit(126)
    os.execvp(sys.argv[2], sys.argv[2:])


def _enter_file_system(specification: dict[str, Any]) -> None:
    root = Path(specification["root"])
    _mount("none", "/", flags=MS_REC | MS_PRIVATE)
    _mount("tmpfs", root, "tmpfs", MS_NOSUID | MS_NODEV, f"size={SCRATCH_MIB}m,mode=755")
    for name in ("tmp", "dev", "proc", "etc"):
        (root / name).mkdir()
    (root / "tmp").chmod(0o1777)
    for name in LINKS:
        if Path("/", name).is_symlink():
            (root / name).symlink_to(Path("/", name).readlink())
    for path in sorted(specification["read_only"]):
        _bind(root, Path(path), MS_RDONLY)
    for path in sorted(specification["writable"]):
        _bind(root, Path(path), 0)
    for name in DEVICES:
        _bind(root, Path("/dev", name), 0, keep=True)
    _mount("proc", root / "proc", "proc", MS_NOSUID | MS_NODEV)
    if specification["user_namespace"]:  # a nested namespace would have all capabilities again, if only over itself
        (root / "proc/sys/user/max_user_namespaces").write_text("0", encoding="ascii")
    os.chdir(root)
    _check(_libc.syscall(PIVOT_ROOT[platform.machine()], b".", b"."), "pivot_root")
    _check(_libc.umount2(b".", MNT_DETACH), "umount of the old root")
    os.chdir(specification["folder"])


def _bind(root: Path, source: Path, flags: int, *, keep: bool = False) -> None:
    """Mount a path of the host at the same path below the root; a bind mount becomes read-only only by a remount."""
    target = root / source.relative_to("/")
    if source.is_dir():
        target.mkdir(parents=True, exist_ok=True)
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.touch()
    _mount(source, target, flags=MS_BIND | MS_REC)
    if not keep:
        locked = os.statvfs(target).f_flag & (MS_NOSUID | MS_NODEV | os.ST_NOEXEC)
        _mount("none", target, flags=MS_BIND | MS_REMOUNT | MS_NOSUID | MS_NODEV | flags | locked)


def _mount(source: object, target: object, kind: str | None = None, flags: int = 0, data: str | None = None) -> None:
    texts = [None if text is None else os.fsencode(str(text)) for text in (source, target, kind, data)]
    _check(_libc.mount(texts[0], texts[1], texts[2], ctypes.c_ulong(flags), texts[3]), f"mount of {source} on {target}")


def _drop_privileges() -> None:
    """Drop all capabilities, for good: none to inherit, none from a set-user-ID file, none from another namespace."""
    highest = int(Path("/proc/sys/kernel/cap_last_cap").read_text(encoding="utf-8"))
    for capability in range(highest + 1):
        _check(_libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0), "dropping a capability")
    _check(_libc.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0), "clearing ambient capabilities")
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0)
    _check(_libc.capset(header, (ctypes.c_uint32 * 6)()), "capset")
    _check(_libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")


def _check(result: int, what: str) -> None:
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")


if __name__ == "__main__":
    main()
