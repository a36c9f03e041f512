"""Fill the generated blocks of the package's README: `python -m local_aws.emulator.reference`, part of `make docs`."""

import re
from itertools import groupby
from pathlib import Path

README = Path(__file__).parents[2] / "README.md"


def fill(text: str, block: str, content: str) -> str:
    """Return `text` with `content` in its block `<!-- generated: … -->`; ValueError if there is no such block."""
    pattern = re.compile(rf"(<!-- generated: {block} -->\n).*?(<!-- end -->\n)", re.DOTALL)
    filled, count = pattern.subn(lambda found: found[1] + content + found[2], text)
    if count != 1:
        raise ValueError(f"the page must have one block `<!-- generated: {block} -->`, got {count}")
    return filled


def readme() -> str:
    """Return the README with the services and the resource types, a line for each service's types."""
    from local_aws.emulator.moto_changes.unsupported import supported_services
    from local_aws.emulator.resources import supported_types

    services = groupby(supported_types(), key=lambda name: name.rpartition("::")[0])
    lines = [
        f"- `{service}`: " + ", ".join(f"`{name.rpartition('::')[2]}`" for name in names) + "\n"
        for service, names in services
    ]
    listed = ", ".join(f"`{name}`" for name in supported_services())
    text = fill(README.read_text(encoding="utf-8"), "services", f"{listed}.\n")
    return fill(text, "resource types", "".join(lines))


if __name__ == "__main__":
    README.write_text(readme(), encoding="utf-8")
