"""Which of a repository's files are staged: exactly what `transformers` loads, once."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

from stage_model.errors import StagingError
from stage_model.manifest import MANIFEST
from stage_model.repository import RepoFile

_SAFETENSORS = ("model.safetensors", "model.safetensors.index.json")
_TORCH = ("pytorch_model.bin", "pytorch_model.bin.index.json")
# Configuration and tokenizer. Cards, licences and pictures are of no use to the container.
_SUPPORT = re.compile(r"[A-Za-z0-9._-]+\.(json|model)|merges\.txt|vocab\.txt")
_MAX_SHARDS = 1000
# Ours; and what multi-model-server takes for an archive of its own older format, on which it stops.
_NEVER = frozenset({MANIFEST, "manifest.json"})


def find_weights(files: Sequence[RepoFile]) -> tuple[str, RepoFile]:
    """Return the format and the file that names the weights: the weights themselves, or the index of their shards.

    Safetensors are preferred, and a single file to shards, as `transformers` does. What other libraries need
    (`state_dict.bin`, `compression_state_dict.bin`) is never chosen. Raises StagingError when there are none.
    """
    by_path = {file.path: file for file in files}
    for kind, names in (("safetensors", _SAFETENSORS), ("torch", _TORCH)):
        for name in names:
            if name in by_path:
                return kind, by_path[name]
    wanted = " or ".join((*_SAFETENSORS, *_TORCH))
    raise StagingError(f"the repository must hold weights ({wanted}), got {_names(by_path)}")


def resolve_shards(files: Sequence[RepoFile], index_name: str, index: bytes) -> list[RepoFile]:
    """Return the shards that an index names, sorted by name.

    Raises StagingError for an index that is not one, or names files that the repository lacks.
    """
    names = _shard_names(index_name, index)
    by_path = {file.path: file for file in files}
    missing = [name for name in names if name not in by_path]
    if missing:
        raise StagingError(f"the repository must hold every shard that {index_name} names, lacks {_names(missing)}")
    return [by_path[name] for name in names]


def support_files(files: Sequence[RepoFile]) -> list[RepoFile]:
    """Return configuration and tokenizer files, sorted by name. Raises StagingError when config.json is missing."""
    named = [file for file in files if file.path.lower() not in _NEVER and not file.path.endswith(".index.json")]
    chosen = [file for file in named if _SUPPORT.fullmatch(file.path)]
    if "config.json" not in (file.path for file in chosen):
        raise StagingError(f"the repository must hold config.json, got {_names(file.path for file in files)}")
    return sorted(chosen, key=lambda file: file.path)


def _shard_names(index_name: str, index: bytes) -> list[str]:
    try:
        weight_map: Any = json.loads(index)["weight_map"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise StagingError(f"{index_name} must be JSON with a weight_map, got {error!r}") from error
    if not weight_map or not isinstance(weight_map, dict):
        raise StagingError(f"the weight_map of {index_name} must name shards, got {weight_map!r:.60}")
    values = cast(Mapping[str, object], weight_map).values()
    names = {value for value in values if isinstance(value, str)}
    if len(names) > _MAX_SHARDS or not all(isinstance(value, str) for value in values):
        others = next((f", one of them {value!r:.60}" for value in values if not isinstance(value, str)), "")
        raise StagingError(
            f"the weight_map of {index_name} must name at most {_MAX_SHARDS} files, got {len(names)}{others}"
        )
    return sorted(names)


def _names(paths: Iterable[str]) -> str:
    names = sorted(paths)
    shown = ", ".join(names[:12])
    return f"{shown} and {len(names) - 12} more" if len(names) > 12 else shown or "no files"
