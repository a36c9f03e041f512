"""Keep the assets that CDK bundled, so that the next run's `cdk synth` need not run pip for the same Lambda again.

CDK names an asset's folder by the hash of its sources and options, and bundles none whose folder exists.
"""

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

_UNUSED_SECONDS = 24 * 3600.0


def restore(store: Path, assembly: Path) -> None:
    """Copy what `store` holds into a new `assembly`."""
    for asset in _assets(store):
        _copy(asset, assembly / asset.name)


def keep(assembly: Path, store: Path) -> None:
    """Copy the assets of a complete `assembly` to `store`; delete from there what no run used for a day."""
    used = {asset.name for asset in _assets(assembly)}
    for name in used:
        if not (store / name).exists():
            _copy(assembly / name, store / name)
        (store / name).touch()
    for asset in _assets(store):
        if asset.name not in used and time.time() - asset.stat().st_mtime > _UNUSED_SECONDS:
            shutil.rmtree(asset)


def _assets(folder: Path) -> Iterator[Path]:
    return (path for path in folder.glob("asset.*") if path.is_dir())


def _copy(source: Path, target: Path) -> None:
    """Copy a folder so that other runs never see half of it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = target.with_name(f"draft-{os.getpid()}-{target.name}")
    shutil.copytree(source, draft)
    try:
        draft.rename(target)
    except OSError:  # another run was faster
        shutil.rmtree(draft)
