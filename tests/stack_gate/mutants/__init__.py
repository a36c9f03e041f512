"""Changes to the real stack that must not pass, each with the classes of the labels that it needs."""

from tests.stack_gate.mutants import access, cost, deletion, evasions, newcomers, protection, serving
from tests.stack_gate.mutants.registry import MUTANTS

# Importing a module registers its changes.
SOURCES = (access, cost, deletion, evasions, newcomers, protection, serving)

__all__ = ["MUTANTS", "SOURCES"]
