"""Tests of the toy model: what it understands, what it plays, and that faults in the engine are heard."""
