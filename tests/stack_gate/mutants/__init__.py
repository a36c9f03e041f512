"""Changes to the real stack that must not pass, each with the classes of labels that it needs."""

from tests.stack_gate.mutants import access, cost, data, protection
from tests.stack_gate.mutants.places import MUTANTS

# Each module enters its changes in the list when it is loaded.
SOURCES = (access, cost, data, protection)

__all__ = ["MUTANTS", "SOURCES"]
