"""Choose the products' tiles by measurement at start-up, within a time budget, and keep the choice on disk.

Only what does not change a sum is chosen: features, warps and stages, and of products into the stream stages alone (see
`tiles`). Splits and widths stay the table's: if each instance chose its own by the clock, a redelivered request could
sound different on another instance. The default is kept unless another tile is clearly faster, and if anything fails.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from time import monotonic
from typing import Any, Protocol

from musicgen_serving.engine.kernels.tiles import Key, Tile, TileTable, default_tile, is_crowded
from musicgen_serving.json_log import JsonLog

BUDGET_SECONDS = 10.0  # of which most is spent on compiling
WORTH = 0.97  # a tile must take less than this share of the default's time, or noise would decide
RESERVED_SHARED = 1024  # bytes that CUDA takes for each program
MIN_PROGRAMS = 2  # on each multiprocessor, so that one computes while the other loads
STAGES = (3, 4, 5, 6)
FORMAT = 1
Now = Callable[[], float]


class UnusableTileError(Exception):
    """A tile's kernel spills registers, or does not fit the device."""


class Timer(Protocol):
    """Return the seconds of one launch of a product with a tile; raise UnusableTileError if it should not be used."""

    def __call__(self, key: Key, tile: Tile) -> float: ...


@dataclass(frozen=True, kw_only=True)
class Fingerprint:
    """What a choice of tiles is valid for."""

    device: str
    shared_bytes: int  # of a multiprocessor
    versions: str  # of torch and Triton
    sources: str  # a digest of the kernels: any change of the project's version that matters here
    keys: tuple[Key, ...]  # the model's shapes and weight format

    @property
    def digest(self) -> str:
        return hashlib.sha256(json.dumps(asdict(self)).encode()).hexdigest()


def sources_digest() -> str:
    """Return a digest of this folder's sources."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def candidates(key: Key, shared_bytes: int) -> list[Tile]:
    """Return the tiles to compare, the default first: all sum in its order and leave room for two programs."""
    rows, features, width, item = key
    default = default_tile(*key)
    shapes = [(default.features, default.warps)]
    if features > width:
        allowed = [warps for warps in (4, 8) if warps <= rows // 4]  # more would add up the statistics differently
        shapes += [(many, warps) for many in (32, 64) for warps in allowed if features % many == 0]
        shapes = [shape for shape in shapes if not is_crowded(rows, *shape, item)]
    found = [replace(default, features=many, warps=warps, stages=stages) for many, warps in shapes for stages in STAGES]
    room = shared_bytes // MIN_PROGRAMS - RESERVED_SHARED
    return [
        default,
        *(tile for tile in dict.fromkeys(found) if tile != default and tile.shared_bytes(rows, item) <= room),
    ]


def sweep(
    keys: Iterable[Key], shared_bytes: int, timer: Timer, *, budget: float = BUDGET_SECONDS, now: Now = monotonic
) -> tuple[dict[Key, Tile], bool]:
    """Return the fastest tile of each product, and whether all were compared within `budget` seconds.

    Few rows come first, and of them large weights. A product whose default cannot be measured keeps it.
    """
    started, chosen = now(), dict[Key, Tile]()
    for key in sorted(keys, key=lambda key: (key[0], -key[1] * key[2] * key[3])):
        best, limit = None, 0.0
        for tile in candidates(key, shared_bytes):
            if now() - started >= budget:
                return chosen, False
            try:
                seconds = timer(key, tile)
            except UnusableTileError:
                if best is None:
                    break  # the default: without its time no other is known to be faster
                continue
            if best is None:
                best, limit = tile, seconds * WORTH
            elif seconds < limit:
                best, limit = tile, seconds
        if best is not None:
            chosen[key] = best
    return chosen, True


class TileCache:
    """The chosen tiles in a file, one for each fingerprint."""

    def __init__(self, folder: Path, log: JsonLog) -> None:
        self._folder = folder
        self._log = log

    def path(self, fingerprint: Fingerprint) -> Path:
        return self._folder / f"musicgen-tiles-{fingerprint.digest[:32]}.json"

    def read(self, fingerprint: Fingerprint) -> dict[Key, Tile] | None:
        """Return the tiles, or None if there are none, or with a log line if the file is damaged."""
        try:
            text = self.path(fingerprint).read_text(encoding="utf-8")
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError) as error:
            return self._ignore(error)
        try:
            return parse(json.loads(text), fingerprint)
        except (ValueError, TypeError, KeyError) as error:
            return self._ignore(error)

    def write(self, fingerprint: Fingerprint, tiles: Mapping[Key, Tile]) -> None:
        """Replace the file as a whole; a failure is logged, and the next start measures again."""
        found = {
            "format": FORMAT,
            "digest": fingerprint.digest,
            "tiles": [[key, asdict(one)] for key, one in tiles.items()],
        }
        path = self.path(fingerprint)
        partial = path.with_suffix(f".{os.getpid()}")
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            partial.write_text(json.dumps(found), encoding="utf-8")
            partial.replace(path)
        except OSError as error:
            self._log.write("tiles_not_cached", error=repr(error))

    def _ignore(self, error: Exception) -> None:
        self._log.write("tiles_cache_ignored", error=repr(error), instead="tiles are measured again")


def parse(found: Any, fingerprint: Fingerprint) -> dict[Key, Tile]:
    """Return a file's tiles; raise ValueError, TypeError or KeyError unless each is one that `sweep` could choose."""
    if (found["format"], found["digest"]) != (FORMAT, fingerprint.digest):
        raise ValueError(f"tiles must be of format {FORMAT} and this fingerprint, got {found['format']!r}")
    tiles: dict[Key, Tile] = {}
    for numbers, fields in found["tiles"]:
        rows, features, width, item = numbers
        key, tile = (rows, features, width, item), Tile(**fields)
        if key not in fingerprint.keys or tile not in candidates(key, fingerprint.shared_bytes):
            raise ValueError(f"a tile must be a candidate of its product, got {tile} for {key}")
        tiles[key] = tile
    return tiles


def tune(
    fingerprint: Fingerprint, cache: TileCache, timer: Timer, log: JsonLog, *,
    budget: float = BUDGET_SECONDS, now: Now = monotonic,
) -> TileTable:  # fmt: skip
    """Return the cached tiles, or measure and cache them; the defaults, with a log line, if that fails."""
    if (tiles := cache.read(fingerprint)) is not None:
        return TileTable(tiles)
    started = now()
    try:
        chosen, complete = sweep(fingerprint.keys, fingerprint.shared_bytes, timer, budget=budget, now=now)
    except Exception as error:  # of the device or of Triton
        log.write("tuning_failed", error=repr(error), instead="the default tiles")
        return TileTable()
    changed = sum(tile != default_tile(*key) for key, tile in chosen.items())
    log.write("tuned", products=len(chosen), changed=changed, complete=complete, seconds=round(now() - started, 3))
    cache.write(fingerprint, chosen)
    return TileTable(chosen)
