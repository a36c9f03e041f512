"""The folders of runs below `.local/`: one for each run, with its logs and results."""

import fcntl
import os
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

_LOCK = "running.lock"  # locked as long as the run's process lives, however it ends


@contextmanager
def new_run(parent: Path) -> Generator[Path]:
    """Create the folder of a new run in `parent`, and lock it while the block runs.

    `latest` in `parent` becomes a link to it. Delete the cloud assemblies of earlier runs that have ended: they are
    most of a run's size, and `cdk synth` makes them again. Logs and clips stay.
    """
    folder = parent / datetime.now(UTC).strftime("run-%Y%m%d-%H%M%S")
    folder.mkdir(parents=True)
    lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        for earlier in parent.glob("run-*"):
            if earlier != folder and _has_ended(earlier):
                shutil.rmtree(earlier / "cdk.out", ignore_errors=True)
        _point(parent / "latest", folder)
        yield folder
    finally:
        os.close(lock)


def _point(link: Path, folder: Path) -> None:
    draft = link.with_name(f"latest-{os.getpid()}")
    draft.symlink_to(folder.name)
    draft.replace(link)


def _has_ended(folder: Path) -> bool:
    try:
        lock = os.open(folder / _LOCK, os.O_RDWR)
    except FileNotFoundError:
        return True  # made before there were locks, or by a run that died at once
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(lock)
    return True
