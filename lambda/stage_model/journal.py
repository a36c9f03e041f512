"""What a run writes down for the next one: the layout, the uploads, the parts done, the casts given up."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from stage_model.errors import StagingError
from stage_model.progress import Resume
from stage_model.store import Upload


@dataclass(frozen=True)
class Journal:
    """`layout` identifies objects and parts; `kept` are tensors that stay float32; `uploads` are one per object."""

    layout: str = ""
    kept: tuple[str, ...] = ()
    uploads: tuple[Upload, ...] = ()
    resume: Resume = field(default_factory=Resume)

    def begun(self, layout: str, uploads: Sequence[Upload]) -> "Journal":
        """Return the journal of fresh uploads."""
        return Journal(layout, self.kept, tuple(uploads))

    def at(self, resume: Resume) -> "Journal":
        """Return the journal after more parts."""
        return replace(self, resume=resume)

    def keeping(self, names: Sequence[str]) -> "Journal":
        """Return the journal of a new beginning that casts fewer tensors."""
        return Journal(kept=tuple(sorted({*self.kept, *names})))

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        uploads = [[upload.key, upload.upload_id] for upload in self.uploads]
        return {"layout": self.layout, "kept": list(self.kept), "uploads": uploads, "resume": self.resume.to_json()}

    @classmethod
    def from_json(cls, value: Mapping[str, Any] | None) -> "Journal":
        """Return what `to_json` wrote, or an empty journal for None. Raises StagingError for anything else."""
        if value is None:
            return cls()
        try:
            uploads = tuple(Upload(key, upload_id) for key, upload_id in value["uploads"])
            return cls(value["layout"], tuple(value["kept"]), uploads, Resume.from_json(value["resume"]))
        except (KeyError, TypeError, ValueError) as error:
            raise StagingError(f"a run's journal must be as this function writes it, got {error!r}") from error
