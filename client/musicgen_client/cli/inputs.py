"""What `musicgen generate` is given: prompts, or requests of another service, as arguments, a file or a stream."""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from musicgen_client.errors import InvalidRequest
from musicgen_client.foreign import Source, convert
from musicgen_client.requests.audio import MAX_BODY_BYTES
from musicgen_client.requests.request import Request, variations

_MAX_LINE = 4096  # characters of a line of a file of prompts
_MAX_JSON_LINE = 65_536  # of one with requests: 16 texts of 1,000 characters, some of them escaped


def maker(
    parameters: dict[str, Any], count: int, source: Source | None, *, random_seed: bool, note: Callable[[str], None]
) -> Callable[[str], list[Request]]:
    """Return a function that makes the requests of one prompt or one JSON payload.

    `parameters` are those of the command line. A payload has its own, so that only a seed and progress can be added.
    With sections among them, there is no prompt. `note` receives what of a payload has no effect, each sentence once.
    """
    given = {name: value for name, value in parameters.items() if value not in (None, False)}
    if source and (extra := sorted(given.keys() - {"seed", "progress"})):
        raise InvalidRequest(f"with --from the request has the parameters, got {extra[0]} on the command line, too")
    noted: set[str] = set()

    def base(item: str) -> Request:
        if not source:
            return Request(texts=() if "sections" in parameters else (item,), **parameters)
        converted = convert(source, parse(item))
        for text in converted.notes:
            if text not in noted:
                noted.add(text)
                note(f"note: {text}")
        fields = {name: value for name, value in vars(converted.request).items() if value is not None}
        return Request(**{**fields, **given})

    def make(item: str) -> list[Request]:
        request = base(item)
        if count == 1:
            return [request.seeded() if random_seed else request]
        if random_seed or request.seed is not None:
            return list(variations(request, count))
        return [request] * count  # a batch gives each a seed that is the same in every run

    return make


def parse(text: str) -> Any:
    """Return the JSON value of a payload; InvalidRequest if it is none."""
    try:
        return json.loads(text)
    except RecursionError as error:
        raise InvalidRequest("a request must be JSON, got too many levels") from error
    except ValueError as error:
        raise InvalidRequest(f"a request must be JSON, got {error}") from error


def payload(argument: str) -> str:
    """Return the text of a payload given as an argument: JSON itself, a file's name, or "-" for standard input."""
    if argument.lstrip().startswith("{"):
        return argument
    with _open(Path(argument)) as stream:
        text = _decoded(stream, argument, MAX_BODY_BYTES + 1)
    if len(text) > MAX_BODY_BYTES:
        raise InvalidRequest(f"{argument} must have at most {MAX_BODY_BYTES} characters, got more")
    return text


def requests_of(file: Path, source: Source | None, make: Callable[[str], list[Request]]) -> Iterator[Request]:
    """Return the requests of a file's lines, read one at a time.

    A file that can be read twice is checked first, so that a wrong line is refused before anything is sent. Raises
    InvalidRequest, then or later, that names the line.
    """
    if file.is_file():
        for _ in _requests(file, source, make):
            pass
    return _requests(file, source, make)


def _requests(file: Path, source: Source | None, make: Callable[[str], list[Request]]) -> Iterator[Request]:
    for number, text in _lines(file, source):
        try:
            yield from make(text)
        except InvalidRequest as error:
            raise InvalidRequest(f"line {number} of {file}: {error}") from error


def _lines(file: Path, source: Source | None) -> Iterator[tuple[int, str]]:
    """Yield the prompts or payloads of a file or of standard input, each with its line's number."""
    limit = _MAX_JSON_LINE if source else _MAX_LINE
    with _open(file) as stream:
        number = 0
        while line := _decoded(stream, str(file), limit + 2, line=True):
            number += 1
            if len(line.rstrip("\r\n")) > limit:
                raise InvalidRequest(f"line {number} of {file} must have at most {limit} characters, got more")
            if text := line.strip():
                yield number, text


def _decoded(stream: IO[str], name: str, size: int, *, line: bool = False) -> str:
    try:
        return stream.readline(size) if line else stream.read(size)
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"{name} must be text in UTF-8, got byte {error.object[error.start]:#04x}") from error


def _open(file: Path) -> IO[str]:
    if str(file) == "-":
        return sys.stdin
    try:
        return file.open(encoding="utf-8")
    except OSError as error:
        raise InvalidRequest(f"{file} cannot be read: {error.strerror}") from error
