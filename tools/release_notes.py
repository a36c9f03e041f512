"""Print the notes of the version in `model_bundle/code/VERSION` from CHANGELOG.md: `python -m release_notes`.

Exit status 1, with the reason, if the changelog's newest entry is not this version with a date.
"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HEADING = re.compile(r"^## \[(Unreleased|\d+\.\d+\.\d+)\](?: - (\d{4}-\d{2}-\d{2}))?$", re.MULTILINE)


def release_notes(changelog: str, version: str) -> str:
    """Return the text of the newest entry; ValueError unless it is `version` with a date."""
    headings = list(HEADING.finditer(changelog))
    newest = headings[0].group(1, 2) if headings else ("none", None)
    if newest[0] != version or newest[1] is None:
        shown = " - ".join(part for part in newest if part)
        raise ValueError(f"the newest entry of CHANGELOG.md must be [{version}] - <date>, got {shown}")
    end = headings[1].start() if len(headings) > 1 else len(changelog)
    return changelog[headings[0].end() : end].strip() + "\n"


def main() -> int:
    """Print the notes and return 0, or the reason why there are none and 1."""
    version = (ROOT / "model_bundle" / "code" / "VERSION").read_text(encoding="utf-8").strip()
    try:
        print(release_notes((ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), version), end="")
    except ValueError as error:
        print(f"release {version}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
