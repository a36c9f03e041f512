"""Sections of a benchmark, each written to the results file as soon as it has ended, and none needed by the next."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


class ResultsFile:
    """A JSON file that is complete at any time: it is replaced as a whole after each section."""

    def __init__(self, path: Path, results: dict[str, Any]) -> None:
        self.path = path
        self.results = results

    def write(self) -> None:
        """Replace the file by the results so far."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        partial = self.path.with_suffix(".partial")
        partial.write_text(json.dumps(self.results, indent=1) + "\n", encoding="utf-8")
        partial.replace(self.path)

    def section(self, model: dict[str, Any], name: str, work: Callable[[], dict[str, Any]]) -> bool:
        """Add the figures that `work` returns to the model's, print how long it took, and write the file.

        A section that raises is noted under `failed` by its name, with the error. Returns whether it succeeded.
        """
        started = time.monotonic()
        failures: dict[str, str] = model.setdefault("failed", {})
        failures.pop(name, None)
        try:
            model |= work()
        except Exception as error:
            failures[name] = f"{type(error).__name__}: {error}"[:500]
        seconds = time.monotonic() - started
        model.setdefault("section_seconds", {})[name] = round(seconds, 1)
        print(f"  {name}: {failures.get(name, 'done')} ({seconds:.0f} s)", flush=True)
        self.write()
        return name not in failures
