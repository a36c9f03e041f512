"""Refuse any moto but the one whose private methods the extensions were written against."""

from __future__ import annotations

import moto

SUPPORTED = "5.2.5"


def check_moto_version(found: str = moto.__version__) -> None:
    """Raise unless moto is exactly `SUPPORTED`."""
    if found != SUPPORTED:
        raise RuntimeError(
            f"moto must be {SUPPORTED}, whose private methods the embedded AWS extends, got {found}; "
            f"install it with: pip install moto=={SUPPORTED}"
        )
