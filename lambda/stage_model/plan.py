"""What will be staged, complete before the first byte of weights moves: files, checksums, objects and parts."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

from stage_model.manifest import Manifest
from stage_model.objects import StagedObject
from stage_model.sources import Reader, Stream


@dataclass(frozen=True)
class StagedFile:
    """One file of the staged model: its path there, and what makes its bytes."""

    path: str
    reader: Reader


@dataclass(frozen=True)
class Plan:
    """The staged model: `files` in order, then the manifest; the `objects` that hold them; all that is hashed.

    `key` is what the resource is known by: the tarball's key, or the prefix of the files.
    """

    key: str
    files: Sequence[StagedFile]
    manifest: Manifest
    streams: Sequence[Stream]
    objects: Sequence[StagedObject]

    @property
    def kept(self) -> Sequence[str]:
        """The decoder's tensors that stay float32 although float16 was asked for."""
        return self.manifest.kept

    @property
    def layout_id(self) -> str:
        """What another run of the same request must find equal to go on with this one's parts."""
        files = [(file.path, file.reader.size) for file in self.files]
        parts = [(made.key, [(part.start, part.stop) for part in made.parts]) for made in self.objects]
        return hashlib.sha256(json.dumps([files, list(self.kept), parts]).encode()).hexdigest()
