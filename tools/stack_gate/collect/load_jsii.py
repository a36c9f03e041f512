"""Import every installed package of CDK's, so that jsii unpacks it into the home folder: see jsii_cache.py."""

import importlib
import importlib.metadata


def main() -> None:
    """Import what requires jsii. A package that cannot be imported is left to the synth, which will say so."""
    for module, names in sorted(importlib.metadata.packages_distributions().items()):
        requirements = [line for name in names for line in importlib.metadata.requires(name) or []]
        if any(line.startswith("jsii") for line in requirements):
            try:
                importlib.import_module(module)
            except ImportError:
                print(f"{module} could not be imported")


main()
