"""Faults that a test may have the Hub commit."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class HubRequest:
    """A request as it came in. `origin` is "hub" or "cdn"; `path` is without its query; `number` counts all requests
    of this Hub from 1; `range` is the Range header."""

    origin: str
    method: str
    path: str
    headers: Mapping[str, str]
    number: int

    @property
    def range(self) -> str | None:
        """The Range header."""
        return self.headers.get("Range")


@dataclass(frozen=True)
class Fault:
    """What to do wrong. `status` answers with that status at once; the others spoil a good answer: `headers` are added
    or replaced, `truncate_to` ends the connection after that many bytes of the body, `flip_bit_at` flips the lowest
    bit of that byte of the body."""

    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    truncate_to: int | None = None
    flip_bit_at: int | None = None


FaultHook = Callable[[HubRequest], Fault | None]


def spoil(fault: Fault | None, block: bytes, offset: int) -> bytes:
    """`block`, which starts at byte `offset` of the body, as `fault` sends it."""
    if fault is None:
        return block
    position = (fault.flip_bit_at if fault.flip_bit_at is not None else -1) - offset
    if 0 <= position < len(block):
        block = block[:position] + bytes([block[position] ^ 1]) + block[position + 1 :]
    if fault.truncate_to is not None:
        block = block[: max(0, fault.truncate_to - offset)]
    return block
