"""The settings in `xp.cfg` of an exported file: YAML as OmegaConf writes it, read without a YAML library.

OmegaConf.to_yaml writes one `name: value` a line, nested by indentation, and lists as lines with a dash. Lines of any
other form are passed over: what is required is then missing, and the file is refused.
"""

import re

from stage_model.errors import StagingError

# Names, values and depth are short, so that 160 bytes for each of the text hold all of it, whatever it is.
SETTINGS_COST = 160
MAX_SETTINGS = 1 << 16  # characters; real ones have 16,000
_ENTRY = re.compile(r"( *)([A-Za-z_][A-Za-z0-9_]{0,39}):(?: (.*))?")
_ITEM = re.compile(r"( *)- (\S{1,40})")
_MAX_VALUE = 60  # characters
_MAX_DEPTH = 6


class ExportSettings:
    """Values by dotted name as texts; a list of plain values is joined by commas."""

    def __init__(self, path: str, yaml: str) -> None:
        self._path = path
        self._values: dict[str, str] = {}
        open_: list[tuple[int, str]] = []  # the indentation and name of each mapping around the line
        for line in yaml.splitlines():
            if entry := _ENTRY.fullmatch(line):
                indentation = len(entry[1])
                open_ = [level for level in open_ if level[0] < indentation]
                if len(open_) == _MAX_DEPTH:
                    continue
                open_.append((indentation, entry[2]))
                self._values[".".join(name for _, name in open_)] = (entry[3] or "").strip(" '\"")[:_MAX_VALUE]
            elif (item := _ITEM.fullmatch(line)) and open_ and open_[-1][0] <= len(item[1]):
                name = ".".join(name for _, name in open_)
                before = self._values[name]
                self._values[name] = (f"{before},{item[2]}" if before else item[2])[:_MAX_VALUE]

    def get(self, name: str) -> str | None:
        """Return a value, None if there is none."""
        return self._values.get(name)

    def require(self, name: str, wanted: str, *, optional: bool = False) -> None:
        """Raise StagingError unless a setting has this value; an `optional` one may be absent."""
        found = self.get(name)
        if found != wanted and not (optional and found is None):
            raise self.error(name, wanted, found)

    def number(self, name: str) -> int:
        """Return a positive whole number."""
        found = self.get(name) or ""
        if not re.fullmatch(r"[1-9][0-9]{0,5}", found):
            raise self.error(name, "a positive whole number", found or None)
        return int(found)

    def error(self, name: str, wanted: str, found: str | None) -> StagingError:
        return StagingError(f"{self._path}'s xp.cfg must have {name} {wanted}, got {found!r:.100}")
