"""Run cfn-lint on every template of the current folder: see children.py for the files."""

import json
import sys
from pathlib import Path
from typing import Any

from cfnlint.api import lint_file


def failures(path: Path) -> list[dict[str, str]]:
    """Return errors and warnings with the logical id of the resource that each is about, "" for none."""
    found: list[dict[str, str]] = []
    for match in lint_file(Path(path.name)):
        steps: list[Any] = getattr(match, "path", None) or []
        place = [str(step) for step in steps]
        if match.rule.id[0] in "EW":
            resource = place[1] if len(place) > 1 and place[0] == "Resources" else ""
            found.append({"rule": match.rule.id, "resource": resource, "text": match.message[:300]})
    return found


def main() -> None:
    for path in sorted(Path().glob("*.template.json")):
        answer = json.dumps(failures(path))
        (Path(sys.argv[1]) / f"{path.name.partition('.')[0]}.json").write_text(answer, encoding="utf-8")


main()
