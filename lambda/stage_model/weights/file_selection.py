"""Selects the files of a repository to stage: exactly what `transformers` loads, each weight once."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

from stage_model.errors import StagingError
from stage_model.memory import MemoryBudget
from stage_model.source.repository_listing import RepoFile

MANIFEST = "musicgen-manifest.json"  # written by staging as the last file of a model
_SAFETENSORS = ("model.safetensors", "model.safetensors.index.json")
_TORCH = ("pytorch_model.bin", "pytorch_model.bin.index.json")
AUDIOCRAFT = ("state_dict.bin", "compression_state_dict.bin")  # language model and EnCodec, as audiocraft exports them
CARD = "README.md"  # the model card, which states the licence
# Configuration and tokenizer; the container needs no model cards, licences or pictures.
_SUPPORT = re.compile(r"[A-Za-z0-9._-]+\.(json|model)|merges\.txt|vocab\.txt")
# An index of weights: one is staged with its shards. Stereo repositories also have `model.safetensors.index.fp32.json`.
_INDEX = re.compile(r".*\.index(\.[A-Za-z0-9_-]+)?\.json")
_MAX_SHARDS = 1000
_MAX_SUPPORT_FILES = 100  # MusicGen has 8
# multi-model-server takes a manifest.json for an archive in its older format and stops.
_EXCLUDED = frozenset({MANIFEST, "manifest.json"})


def find_weights(files: Sequence[RepoFile], *, custom: bool = False) -> tuple[str, RepoFile]:
    """Return the format ("safetensors" or "torch") and the weights file or shard index to load.

    Safetensors are preferred to torch and one file to shards, as in `transformers`; other libraries' weights are
    ignored. Only if there are none, the format of a `custom` model may be "audiocraft", the file the language model.
    Raises StagingError if there are no weights.
    """
    by_path = {file.path: file for file in files}
    for kind, names in (("safetensors", _SAFETENSORS), ("torch", _TORCH)):
        for name in names:
            if name in by_path:
                return kind, by_path[name]
    if custom and all(name in by_path for name in AUDIOCRAFT):
        return "audiocraft", by_path[AUDIOCRAFT[0]]
    wanted = " or ".join((*_SAFETENSORS, *_TORCH, *([" and ".join(AUDIOCRAFT)] if custom else [])))
    raise StagingError(f"the repository must hold weights ({wanted}), got {_names(by_path)}")


def resolve_shards(
    files: Sequence[RepoFile], index_name: str, index: bytes, memory: MemoryBudget | None = None
) -> list[RepoFile]:
    """Return the shards that an index names, sorted by name.

    Raises StagingError if it is invalid, a shard is missing, or parsing it could exceed the run's memory.
    """
    document: Any = (memory or MemoryBudget()).parse_json(index_name, index)
    weight_map: Any = cast(dict[str, Any], document).get("weight_map") if isinstance(document, dict) else None
    if not weight_map or not isinstance(weight_map, dict):
        raise StagingError(f"{index_name} must be JSON with a weight_map that names shards, got {weight_map!r:.60}")
    values = cast(Mapping[str, object], weight_map).values()
    names = sorted({value for value in values if isinstance(value, str)})
    if len(names) > _MAX_SHARDS or not all(isinstance(value, str) for value in values):
        others = next((f", one of them {value!r:.60}" for value in values if not isinstance(value, str)), "")
        raise StagingError(
            f"the weight_map of {index_name} must name at most {_MAX_SHARDS} files, got {len(names)}{others}"
        )
    by_path = {file.path: file for file in files}
    missing = [name for name in names if name not in by_path]
    if missing:
        raise StagingError(f"the repository must hold every shard that {index_name} names, lacks {_names(missing)}")
    return [by_path[name] for name in names]


def support_files(files: Sequence[RepoFile]) -> list[RepoFile]:
    """Return configuration and tokenizer files, sorted by name. Raises StagingError if config.json is missing."""
    named = [file for file in files if file.path.lower() not in _EXCLUDED and not _INDEX.fullmatch(file.path)]
    chosen = [file for file in named if _SUPPORT.fullmatch(file.path)]
    if len(chosen) > _MAX_SUPPORT_FILES:
        raise StagingError(
            f"at most {_MAX_SUPPORT_FILES} configuration and tokenizer files can be staged, got {len(chosen)}"
        )
    if "config.json" not in (file.path for file in chosen):
        raise StagingError(f"the repository must hold config.json, got {_names(file.path for file in files)}")
    return sorted(chosen, key=lambda file: file.path)


def _names(paths: Iterable[str]) -> str:
    names = sorted(paths)
    shown = ", ".join(names[:12])
    return f"{shown} and {len(names) - 12} more" if len(names) > 12 else shown or "no files"
