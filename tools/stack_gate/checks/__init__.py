"""What programs outside the gate say of both templates: linters (lint.py), and the capacity planner (forecast.py).

They are the base's and read templates as JSON, in the sandbox of collect; no code of a revision runs. Imported by gate;
imports collect, findings and template.
"""
