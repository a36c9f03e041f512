"""The licence that a repository's model card states: `license` in the YAML header of its README.md.

https://huggingface.co/docs/hub/model-cards#model-card-metadata
"""

import re
from collections.abc import Sequence

from stage_model.memory import MemoryBudget
from stage_model.source.repository_listing import RepoFile, Repository, read_verified
from stage_model.weights.file_selection import CARD

_MAX_CARD = 1 << 20  # bytes; real ones have 10 kB
_HEADER = re.compile(r"---\r?\n(.*?)\n---", re.DOTALL)
_FIELD = re.compile(r"^(license|license_name):[ \t]*[\"']?([\w.+-]{1,64})[\"']?[ \t\r]*$", re.MULTILINE | re.ASCII)


def read_license(repository: Repository, listing: Sequence[RepoFile], memory: MemoryBudget) -> str | None:
    """Return the licence, such as `mit`, or None if the card or its licence is missing. Raises StagingError."""
    card = next((file for file in listing if file.path == CARD and file.size <= _MAX_CARD), None)
    if card is None:
        return None
    header = _HEADER.match(read_verified(repository, card, memory).decode("utf-8", "replace"))
    fields: dict[str, str] = {found[1]: found[2] for found in _FIELD.finditer(header[1] if header else "")}
    if fields.get("license") == "other":  # the card then names it
        return fields.get("license_name", "other")
    return fields.get("license")
