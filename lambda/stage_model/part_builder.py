"""Building one part: framing, literal bytes, and the readers' bytes straight into their places."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from stage_model.checksums import crc32
from stage_model.objects import Part, StagedObject
from stage_model.sources import Feed, Reader
from stage_model.tar_layout import Piece
from stage_model.views import Views, scatter


@dataclass
class BuiltPart:
    """A part in its buffer: framed bytes, CRC-32 of these and of the payload, and what is still to be hashed."""

    frame: memoryview
    frame_crc: int
    payload_crc: int
    payload_length: int
    feeds: list[Feed] = field(default_factory=list[Feed])


class PartBuilder:
    """Builds the parts of one object from its members' readers."""

    def __init__(self, target: StagedObject, readers: Sequence[Reader]) -> None:
        self._target = target
        self._readers = readers

    def build(self, part: Part, buffer: memoryview, before_member: Callable[[int, list[Feed]], None]) -> BuiltPart:
        """Fill `buffer` with a part, less its trailer.

        `before_member` is told each member's index before its bytes are made, with the feeds so far, which it may take.
        """
        framing, length = self._target.framing, part.stop - part.start
        frame = buffer[: framing.framed_length(length, part.first, last=False)]
        framing.write_headers(frame, length, part.first)
        feeds: list[Feed] = []
        for piece in self._target.layout.pieces(part.start, part.stop):
            views = list(framing.payload_views(frame, piece.start - part.start, piece.length, part.first))
            if piece.literal is None:
                before_member(piece.member, feeds)
            feeds += self._fill(piece, views)
        return BuiltPart(frame, *_checksums(framing.blocks(frame, length, part.first)), length, feeds)

    def _fill(self, piece: Piece, views: Views) -> Sequence[Feed]:
        if piece.literal is None:
            return self._readers[piece.member].fill(piece.offset, views)
        scatter(piece.literal, views)
        return ()


def _checksums(blocks: Iterable[tuple[memoryview, memoryview]]) -> tuple[int, int]:
    """Return the CRC-32 of all bytes and of the payload alone: a block's second reading finds it in the cache."""
    frame_crc = payload_crc = 0
    for framing, payload in blocks:
        frame_crc = crc32((framing, payload), frame_crc)
        payload_crc = crc32((payload,), payload_crc)
    return frame_crc, payload_crc
