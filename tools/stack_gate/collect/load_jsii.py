"""Import every installed package of CDK's, so that jsii unpacks and indexes it in the home folder: see jsii_cache."""

import importlib
import importlib.metadata
import importlib.util
import sys
import time
from pathlib import Path

INDEX_SECONDS = 120
_ENTRY, _INDEX = ".jsii-runtime-package-cache", ".jsii.runtime.v*.json"  # jsii writes them last


def main() -> None:
    """Import what requires jsii. A package that cannot be imported is left to the synth, which will say so."""
    for module, names in sorted(importlib.metadata.packages_distributions().items()):
        requirements = [line for name in names for line in importlib.metadata.requires(name) or []]
        if any(line.startswith("jsii") for line in requirements):
            try:
                importlib.import_module(module)
            except ImportError:
                print(f"{module} could not be imported")
    _await_indexes()


def _await_indexes() -> None:
    """Keep jsii running until its worker thread has indexed the types of every package.

    The thread ends with the process. Without aws-cdk-lib's index each synth reads all 23,000 types, which takes a
    gibibyte and ten seconds of processor time, and starts to index them again. Older jsii makes no index.
    """
    embedded = importlib.util.find_spec("jsii._embedded.jsii") if "jsii" in sys.modules else None
    if embedded is None or embedded.origin is None:
        return
    if not Path(embedded.origin).with_name("lib__runtime-index-worker.js").exists():
        return
    deadline = time.monotonic() + INDEX_SECONDS
    folders = [entry.parent for entry in Path.home().rglob(_ENTRY)]
    while not all(any(folder.glob(_INDEX)) for folder in folders):
        if time.monotonic() > deadline:
            print("jsii did not index its packages in time")
            return
        time.sleep(0.1)


main()
