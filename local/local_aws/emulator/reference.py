"""Fill the generated block of the package's README: `python -m local_aws.emulator.reference`, part of `make docs`."""

import re
from itertools import groupby
from pathlib import Path

README = Path(__file__).parents[2] / "README.md"
_BLOCK = re.compile(r"(<!-- generated: resource types -->\n).*?(<!-- end -->\n)", re.DOTALL)


def readme() -> str:
    """Return the README with the resource types of the registry, a line for each service."""
    from local_aws.emulator.resources import supported_types

    services = groupby(supported_types(), key=lambda name: name.rpartition("::")[0])
    lines = [
        f"- `{service}`: " + ", ".join(f"`{name.rpartition('::')[2]}`" for name in names) + "\n"
        for service, names in services
    ]
    return _BLOCK.sub(lambda found: found[1] + "".join(lines) + found[2], README.read_text(encoding="utf-8"))


if __name__ == "__main__":
    README.write_text(readme(), encoding="utf-8")
