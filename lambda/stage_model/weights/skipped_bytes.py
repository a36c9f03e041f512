"""Bytes of a published file that are not staged, read in order only to be hashed, however many they are."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from stage_model.errors import StagingError
from stage_model.weights.safetensors_header import WeightFile

_PIECE = 1 << 20  # bytes of one request
_READERS = 8  # one connection alone would take most of a minute for the decoder of musicgen-small
WINDOW = _PIECE * _READERS  # bytes in memory


class SkippedBytes:
    """Bytes [start, stop) of a file. Iterating reads them; a view is valid until the next one is requested."""

    def __init__(self, file: WeightFile, start: int, stop: int) -> None:
        self._file, self._start, self._stop = file, start, stop

    def __iter__(self) -> Iterator[memoryview]:
        window = memoryview(bytearray(min(WINDOW, self._stop - self._start)))
        with ThreadPoolExecutor(_READERS, thread_name_prefix="skip") as pool:
            for start in range(self._start, self._stop, WINDOW):
                filled = window[: min(WINDOW, self._stop - start)]
                places = range(0, len(filled), _PIECE)
                pieces = [filled[at : at + _PIECE] for at in places]
                for _ in pool.map(self._read, [start + at for at in places], pieces):
                    pass
                check_known(self._file, start, filled)
                yield filled

    def _read(self, at: int, piece: memoryview) -> None:
        self._file.source.read_into(at, [piece])


def check_known(file: WeightFile, start: int, data: memoryview) -> None:
    """Raise StagingError if a file's bytes from `start` on differ from those that were read during planning."""
    for known in file.known:
        a, b = max(start, known.start), min(start + len(data), known.start + len(known.data))
        if a < b and bytes(data[a - start : b - start]) != known.data[a - known.start : b - known.start]:
            raise StagingError(f"{file.path} gave other bytes near {a} when read twice")
