"""Changes to the real stack that must not pass, each with the classes of labels that it needs."""

import gate_mutants_access
import gate_mutants_cost
import gate_mutants_data
import gate_mutants_protection
from gate_places import MUTANTS

# Each module enters its changes in the list when it is loaded.
SOURCES = (gate_mutants_access, gate_mutants_cost, gate_mutants_data, gate_mutants_protection)

__all__ = ["MUTANTS", "SOURCES"]
