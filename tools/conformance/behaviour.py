"""A documented behaviour of AWS: `documented` turns a test into a row of docs/behaviours.md."""

import importlib
import inspect
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import pytest

TARGET_VARIABLE = "CONFORMANCE_TARGET"  # read when tests are collected; see `targets`
FOLDERS = ("tests/conformance", "tests/local_aws")  # below the repository's root; only the first runs on every target

Status = Literal["same", "differs", "unknown"]
_Test = TypeVar("_Test", bound=Callable[..., Any])


@dataclass(frozen=True)
class Behaviour:
    """One row: what AWS documents, where, and the test that shows it.

    `status` is "same" when the embedded AWS passes the test, "differs" (with `reason`) when it fails it, and "unknown"
    (with `reason`) when AWS documents no answer: the test then shows what the embedded AWS does. `minutes` is how long
    the test waits in a real account, for tests that take more than one; `gpu` tests need a GPU instance there.
    """

    area: str
    name: str
    statement: str
    link: str
    path: str
    status: Status
    reason: str
    minutes: int
    gpu: bool

    @property
    def id(self) -> str:
        """The row's stable id, `<area>/<name>`."""
        return f"{self.area}/{self.name}"

    @property
    def portable(self) -> bool:
        """Whether the test uses nothing but AWS's API, and so runs on every target."""
        return self.path.startswith(FOLDERS[0] + "/")


_registered: dict[str, Behaviour] = {}


def documented(
    link: str, *, differs: str = "", unknown: str = "", minutes: int = 0, gpu: bool = False
) -> Callable[[_Test], _Test]:
    """Declare that the test shows a behaviour which AWS documents at `link`; its docstring is AWS's statement.

    `differs` says why the embedded AWS fails the test: it is then expected to fail there, and reported when it passes.
    `unknown` says what AWS does not document. Raises ValueError for a test without a docstring, a link that is not
    AWS's, or a second test of the same name in the same area (the file's name).
    """

    def declare(test: _Test) -> _Test:
        file = Path(inspect.getfile(test)).resolve()
        area, name = file.stem.removeprefix("test_"), test.__name__.removeprefix("test_").replace("_", "-")
        statement = " ".join((inspect.getdoc(test) or "").split("\n\n")[0].split())
        path = f"{file.relative_to(root()).as_posix()}::{test.__name__}"
        behaviour = Behaviour(
            area, name, statement, link, path, _status(differs, unknown), differs or unknown, minutes, gpu
        )
        _check(behaviour, _registered.get(behaviour.id))
        _registered[behaviour.id] = behaviour
        marked = pytest.mark.behaviour(behaviour.id)(test)
        if differs and os.environ.get(TARGET_VARIABLE, "embedded") == "embedded":
            marked = pytest.mark.xfail(reason=differs, strict=True)(marked)
        return marked

    return declare


def behaviours() -> list[Behaviour]:
    """Import every test module that declares behaviours; return all of them, ordered by area and then as written."""
    for module in _modules():
        importlib.import_module(module)
    return sorted(_registered.values(), key=lambda row: (row.area, row.path.split("::")[0]))


def root() -> Path:
    """Return the repository's root."""
    return Path(__file__).resolve().parents[2]


def _modules() -> Iterator[str]:
    for folder in FOLDERS:
        for file in sorted((root() / folder).rglob("test_*.py")):
            if "@documented(" in file.read_text(encoding="utf-8"):
                yield ".".join(file.relative_to(root()).with_suffix("").parts)


def _status(differs: str, unknown: str) -> Status:
    if differs and unknown:
        raise ValueError("a behaviour either differs or is unknown, not both")
    return "differs" if differs else "unknown" if unknown else "same"


def _check(behaviour: Behaviour, other: Behaviour | None) -> None:
    if not behaviour.statement:
        raise ValueError(f"{behaviour.path} needs a docstring: it is the statement in docs/behaviours.md")
    if not behaviour.link.startswith("https://docs.aws.amazon.com/"):
        raise ValueError(f"{behaviour.path} must link to https://docs.aws.amazon.com/, got {behaviour.link!r}")
    if other is not None and other.path != behaviour.path:
        raise ValueError(f"{behaviour.path} and {other.path} have the same id {behaviour.id}: rename one")
