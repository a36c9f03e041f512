"""The package's README names exactly what the registry supports, and its metadata the moto that is patched."""

import tomllib

from local_aws.emulator import reference
from local_aws.emulator.moto_changes.moto_patches import SUPPORTED_VERSION
from local_aws.emulator.resources import supported_types


def test_readme_lists_every_resource_type() -> None:
    text = reference.README.read_text(encoding="utf-8")
    assert text == reference.readme(), "run: make docs"
    assert all(f"`{name.rpartition('::')[2]}`" in text for name in supported_types())


def test_package_requires_the_supported_moto() -> None:
    project = tomllib.loads(reference.README.with_name("pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["dependencies"][0].endswith(f"=={SUPPORTED_VERSION}")
