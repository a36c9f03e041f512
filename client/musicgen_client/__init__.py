"""Music from a MusicGen endpoint on AWS: `MusicGen(stack="MusicGen-dev").generate("calm piano", duration=10)`.

For programs and notebooks; `musicgen` on the command line is the same. Nothing here imports another part of the
repository: docs/contracts.md is the interface.
"""

from musicgen_client.api import MusicGen, Outcome, Parameters
from musicgen_client.clip import Clip
from musicgen_client.errors import MusicGenError
from musicgen_client.jobs import Limits, Update
from musicgen_client.requests.audio import Excerpt
from musicgen_client.requests.request import Request, Section
from musicgen_client.status import Status

__all__ = [
    "Clip", "Excerpt", "Limits", "MusicGen", "MusicGenError", "Outcome", "Parameters", "Request", "Section", "Status",
    "Update",
]  # fmt: skip
