"""`musicgen-manifest.json`, the staged model's last file: what was staged, from what. Its length is known early."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

MANIFEST = "musicgen-manifest.json"
LAYOUT = 1
_LICENSE = "CC-BY-NC-4.0 (model weights)"
_UNKNOWN = "0" * 64  # as long as the SHA-256 that takes its place


@dataclass(frozen=True)
class FileNote:
    """A file: path, size in bytes, and the SHA-256 as published; None for one that was not published so."""

    path: str
    size: int
    source_sha256: str | None


@dataclass(frozen=True)
class Manifest:
    """What `musicgen-manifest.json` says, less the SHA-256 of the files as staged.

    `sources` are the published files that were converted; `kept` are decoder tensors that float16 would have damaged.
    """

    model_id: str
    revision: str
    decoder_dtype: str
    files: Sequence[FileNote]
    sources: Sequence[FileNote] = ()
    kept: Sequence[str] = ()

    @property
    def size(self) -> int:
        """The length of `render`'s result in bytes, whatever the checksums."""
        return len(self.render({note.path: _UNKNOWN for note in self.files}))

    def render(self, sha256: Mapping[str, str]) -> bytes:
        """Return the file, given every staged file's SHA-256 (64 hexadecimal digits) by path."""
        document = {
            "layout": LAYOUT,
            "model_id": self.model_id,
            "revision": self.revision,
            "decoder_dtype": self.decoder_dtype,
            "license": _LICENSE,
            "files": [
                {"path": n.path, "size": n.size, "sha256": sha256[n.path], "source_sha256": n.source_sha256}
                for n in self.files
            ],
            "sources": [{"path": n.path, "size": n.size, "sha256": n.source_sha256} for n in self.sources],
            "kept_float32": list(self.kept),
        }
        return json.dumps(document, indent=1).encode() + b"\n"
