"""The reference page of all settings, written from Config: `python -m infra.reference > docs/configuration.md`."""

import json
from pathlib import Path
from typing import Any, cast

from infra.config import declared_settings, default_of

_INTRODUCTION = """\
# Configuration

<!-- Written by `python -m infra.reference > docs/configuration.md`; a test holds it equal to infra/config.py. -->

Settings live in `cdk.json` under `environments`, one object per environment; `-c env=prod` chooses one (`dev` unless
said otherwise), and `-c <setting>=<value>` overrides a single setting: `npx cdk deploy -c env=prod -c
max_capacity=2`. On the command line a list is one string with commas. A setting that does not exist, a value that is
not allowed, and a model that does not fit the GPU's memory are refused before anything is deployed.

| setting | default | {columns} allowed | meaning |
|---|---|{rule}---|---|
"""

_SIZES = """
## What follows from the model

- GPU memory: the staged weights (the decoder in `decoder_dtype`, all else in float32), one key-value cache of full
  length per concurrent request, and 2 GB in reserve must fit one GPU of every instance type (`infra/sizing.py`).
- `ModelDataDownloadTimeoutInSeconds` is 300 and the staged bytes at 25 MB/s,
  `ContainerStartupHealthCheckTimeoutInSeconds` 300 and the staged bytes at 50 MB/s, both within SageMaker's 60 to
  3600.
- Models, commits and sizes are in `infra/models.json`, GPU memory in `infra/instances.json`, prices in
  `infra/prices.json`, regions in `infra/image_registries.json`.
"""


def page() -> str:
    """The whole page, in Markdown."""
    environments = _environments()
    columns = "".join(f" {name} |" for name in environments)
    rows = "".join(_row(name, environments) for name in declared_settings() if name != "env")
    head = _INTRODUCTION.replace("{columns}", columns.lstrip()).replace("{rule}", "---|" * len(environments))
    return head + rows + _SIZES


def _environments() -> dict[str, dict[str, Any]]:
    cdk = json.loads((Path(__file__).resolve().parents[1] / "cdk.json").read_text(encoding="utf-8"))
    return cdk["context"]["environments"]


def _row(name: str, environments: dict[str, dict[str, Any]]) -> str:
    setting = declared_settings()[name]
    values = "".join(f" {_shown(values[name]) if name in values else ''} |" for values in environments.values())
    return f"| `{name}` | {_shown(default_of(name))} |{values} {setting.rule.allowed} | {setting.doc} |\n"


def _shown(value: Any) -> str:
    text = ", ".join(cast(list[str], value)) if isinstance(value, list | tuple) else str(value)
    return f"`{text}`" if text else ""


if __name__ == "__main__":
    print(page(), end="")
