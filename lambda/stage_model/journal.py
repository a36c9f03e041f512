"""What a run writes down for the next one: the layout, the uploads, the parts done, the casts given up."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from stage_model.errors import StagingError
from stage_model.progress import Resume
from stage_model.store import Upload


@dataclass(frozen=True)
class Journal:
    """`target` is what the run makes, once it has begun: the tarball's key, or the prefix of the files.

    `layout` identifies objects and parts; `kept` are tensors that stay float32; `uploads` are one per object.
    """

    target: str = ""
    layout: str = ""
    kept: tuple[str, ...] = ()
    uploads: tuple[Upload, ...] = ()
    resume: Resume = field(default_factory=Resume)

    def begun(self, target: str, layout: str, uploads: Sequence[Upload]) -> "Journal":
        """Return the journal of fresh uploads."""
        return Journal(target, layout, self.kept, tuple(uploads))

    def at(self, resume: Resume) -> "Journal":
        """Return the journal after more parts."""
        return replace(self, resume=resume)

    def anew(self, kept: Sequence[str] = ()) -> "Journal":
        """Return the journal of a new beginning, with more tensors that stay float32."""
        return Journal(self.target, kept=tuple(sorted({*self.kept, *kept})))

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        uploads = [[upload.key, upload.upload_id] for upload in self.uploads]
        resume = self.resume.to_json()
        return {
            "target": self.target, "layout": self.layout, "kept": list(self.kept), "uploads": uploads, "resume": resume,
        }  # fmt: skip

    @classmethod
    def from_json(cls, value: Mapping[str, Any] | None) -> "Journal":
        """Return what `to_json` wrote, or an empty journal for None. Raises StagingError for anything else."""
        if value is None:
            return cls()
        try:
            uploads = tuple(Upload(key, upload_id) for key, upload_id in value["uploads"])
            resume = Resume.from_json(value["resume"])
            return cls(value["target"], value["layout"], tuple(value["kept"]), uploads, resume)
        except (KeyError, TypeError, ValueError) as error:
            raise StagingError(f"a run's journal must be as this function writes it, got {error!r}") from error
